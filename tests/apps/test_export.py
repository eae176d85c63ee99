"""Exported networks run in ONNX Runtime and PyTorch alone, on images of other sizes too, with the same results."""

from __future__ import annotations

import basicsr  # noqa: F401  (loads the registries)
import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.__main__ import main
from mulsr_plugin.apps import export
from mulsr_plugin.apps.export import ExportedSizes, export_network
from tests.processes import ROOT, run_python

SIZES = ExportedSizes(num_bands=5, scale=4, height=6, width=5)


def small_mulsr(**options):
    torch.manual_seed(0)
    net = ARCH_REGISTRY.get('MulSR')(upscale=4, num_feat=8, num_modules=1, **options).eval()
    with torch.no_grad():  # the release starts slopes alike: make every scan one of its own
        for parameter in net.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return net


def run_onnx(path, *images):
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return session.run(None, dict(zip([entry.name for entry in session.get_inputs()], images)))[0]


@pytest.mark.parametrize('height, width', [(6, 5), (9, 3), (2, 17)])
def test_mulsr_in_onnx_takes_any_size(tmp_path_factory, height, width):
    pytest.importorskip('onnxscript')
    path = tmp_path_factory.getbasetemp() / 'mulsr.onnx'
    net = small_mulsr()
    if not path.exists():
        assert export_network(net, path, SIZES) < 1e-5
    rng = np.random.default_rng(0)
    lq = rng.random((1, 5, height, width), np.float32)
    rgb = rng.random((1, 3, 4 * height, 4 * width), np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(lq), torch.from_numpy(rgb)).numpy()
    np.testing.assert_allclose(run_onnx(path, lq, rgb), expected, rtol=0, atol=1e-5)


def test_pt2_in_a_process_that_knows_the_scan_alone(tmp_path):
    net = small_mulsr()
    export_network(net, tmp_path / 'x.pt2', SIZES)
    lq, rgb = torch.rand(1, 5, 7, 9), torch.rand(1, 3, 28, 36)
    with torch.no_grad():
        torch.save({'lq': lq, 'rgb': rgb, 'expected': net(lq, rgb)}, tmp_path / 'images.pth')
    code = (
        'import torch, mulsr_plugin.ops.scans; net = torch.export.load("x.pt2").module(); '
        'd = torch.load("images.pth"); print((net(d["lq"], d["rgb"]) - d["expected"]).abs().max().item())'
    )
    done = run_python('-c', code, cwd=tmp_path, path=ROOT)
    assert float(done.stdout) < 1e-5, done.stderr


@pytest.mark.parametrize(
    'options',
    [
        {'type': 'BicubicUpsampler', 'upscale': 4},
        {'type': 'RRDBNet', 'num_in_ch': 5, 'num_out_ch': 5, 'num_feat': 4, 'num_block': 1, 'num_grow_ch': 2},
    ],
    ids=lambda options: options['type'],
)
@pytest.mark.parametrize('suffix', ['.onnx', '.pt2'])
def test_networks_without_a_guide(tmp_path, options, suffix):
    if suffix == '.onnx':
        pytest.importorskip('onnxscript')
    options = dict(options)
    net = ARCH_REGISTRY.get(options.pop('type'))(**options).eval()
    assert export_network(net, tmp_path / f'x{suffix}', SIZES) < 1e-5


class Refusing(nn.Module):
    """Takes one size, which it finds out by looking at values."""

    def forward(self, lq):
        return lq * 2 if lq.sum().item() > 0 else lq


@pytest.mark.parametrize(
    ('net', 'name', 'sizes', 'message'),
    [
        (nn.Identity(), 'x.pth', SIZES, r'x\.pth has no suffix of an export, expected \.onnx or \.pt2'),
        (small_mulsr(), 'x.pt2', SIZES._replace(scale=8), 'does not fit a cube of 6x5 at x4'),
        (Refusing(), 'x.pt2', SIZES, r'Refusing cannot be recorded .*; try a fixed size \(--fixed\)'),
        (Refusing(), 'x.pt2', SIZES._replace(is_fixed=True), 'this network is not supported'),
    ],
)
def test_what_cannot_be_exported_says_so_and_leaves_nothing(tmp_path, net, name, sizes, message):
    with pytest.raises(ValueError, match=message):
        export_network(net, tmp_path / name, sizes)
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_other_results_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, 'LARGEST_DIFFERENCE', -1.0)
    with pytest.raises(ValueError, match='differs from the network by .*; nothing is written'):
        export_network(small_mulsr(), tmp_path / 'x.pt2', SIZES)
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path, capsys):
    torch.save({'params': small_mulsr().state_dict()}, tmp_path / 'net.pth')
    arguments = [
        'export',
        str(tmp_path / 'net.pth'),
        str(tmp_path / 'x.pt2'),
        '--scale',
        '4',
        '--bands',
        '5',
        '--fixed',
        '4',
        '4',
    ]
    assert main(arguments) == 0
    assert 'results differ by at most' in capsys.readouterr().out
    assert main(arguments) == 1
    assert 'x.pt2 exists already and is left as it is' in capsys.readouterr().err
    arguments[2] = str(tmp_path / 'absent' / 'x.pt2')
    assert main(arguments) == 1
    assert 'error: There is no folder' in capsys.readouterr().err
