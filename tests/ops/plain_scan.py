"""The line scan in its plain form, a reference for the fast ones."""

from __future__ import annotations

import torch

from mulsr_plugin.ops.scans import LineScan


class PlainScan(LineScan):
    """The scan as a chain of single steps, differentiated by autograd."""

    def forward(self, x):
        lines = list(x.split(1, dim=self.dim))
        for i in range(1, len(lines)):
            lines[i] = lines[i] + self.conv(lines[i - 1])
        for i in reversed(range(len(lines) - 1)):
            lines[i] = lines[i] + self.conv(lines[i + 1])
        return torch.cat(lines, dim=self.dim)


def pair_of_scans(num_feat, lines, kernel_size=7):
    """Return a LineScan and a PlainScan with the same parameters."""
    torch.manual_seed(0)
    scan, plain = LineScan(num_feat, lines, kernel_size), PlainScan(num_feat, lines, kernel_size)
    plain.load_state_dict(scan.state_dict())
    return scan, plain


def result_and_gradients(scan, x, autocast=False):
    """Return the scanned map and the gradients of its weighted sum with respect to input, weight, bias and slope."""
    x = x.detach().requires_grad_()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
        y = scan(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64, device=y.device).cos().reshape(y.shape)
    return y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *scan.parameters()])


def relative_error(ours, reference):
    """Return the norm of the difference over the norm of the reference."""
    ours, reference = ours.cpu().double(), reference.cpu().double()
    return float((ours - reference).norm() / reference.norm())
