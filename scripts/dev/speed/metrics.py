"""Time the metrics on one random smooth scene, beside the usual SSIM with two-dimensional convolutions.

    python -m scripts.dev.speed.metrics [--size 512] [--bands 31] [--threads 2] [--device cpu] [--repeats 5]

Prints the median time of each metric, those that need no reference too, the sum for the paper's four metrics and ERGAS,
and ratios to the plain SSIM.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

import mulsr_plugin
from mulsr_plugin.cli.arguments import whole_number

PAPER_METRICS = ['calculate_hsi_psnr', 'calculate_hsi_ssim', 'calculate_sam', 'calculate_rmse', 'calculate_ergas']
OTHER_METRICS = ['calculate_mpsnr', 'calculate_cc', 'calculate_uiqi', 'calculate_q2n']
NO_REFERENCE_METRICS = [
    'calculate_d_lambda',
    'calculate_d_s',
    'calculate_qnr',
    'calculate_spectral_consistency',
    'calculate_spatial_consistency',
]


def smooth_scene(size: int, num_bands: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a noisy result and a smooth reference in [0, 1], (size, size, num_bands) float32."""
    torch.manual_seed(0)
    coarse = torch.rand(1, 1, -(-num_bands // 4) + 1, size // 16 + 1, size // 16 + 1)
    scene = F.interpolate(coarse, (num_bands, size, size), mode='trilinear')[0, 0].permute(1, 2, 0).contiguous()
    result = (scene + 0.02 * torch.randn_like(scene)).clamp_(0, 1)
    return result.to(device), scene.to(device)


def plain_ssim(img: torch.Tensor, img2: torch.Tensor) -> float:
    """Compute the same SSIM with five convolutions by the full 11 x 11 window."""
    offsets = torch.arange(11, device=img.device) - 5.0
    weights = torch.exp(-offsets.square() / 4.5)
    window = (torch.outer(weights, weights) / weights.sum().square())[None, None]
    first, second = (cube.permute(2, 0, 1)[:, None] for cube in (img, img2))
    fields = (first, second, first * first, second * second, first * second)
    mean, mean2, square, square2, product = (F.conv2d(field, window) for field in fields)
    structure = (2 * (product - mean * mean2) + 0.03**2) / (square - mean**2 + square2 - mean2**2 + 0.03**2)
    luminance = (2 * mean * mean2 + 0.01**2) / (mean**2 + mean2**2 + 0.01**2)
    return float((luminance * structure).mean())


def measure(function: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Return the value of a function and the median of its times in ms, after one unmeasured call."""
    value, times = function(), []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return value, statistics.median(times)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=whole_number(64), default=512, help='height and width, a multiple of 8')
    parser.add_argument('--bands', type=whole_number(3), default=31, help='number of bands')
    parser.add_argument('--threads', type=whole_number(1), default=2, help='CPU threads')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--repeats', type=whole_number(1), default=5, help='timed calls per metric')
    args = parser.parse_args()
    if args.size % 8:
        parser.error(f'argument --size: {args.size} is no multiple of 8')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('argument --device: PyTorch sees no GPU; leave it out')
    torch.set_num_threads(args.threads)
    mulsr_plugin.register()
    from basicsr.metrics import calculate_metric  # complete only after registering, also without autoload

    result, scene = smooth_scene(args.size, args.bands, args.device)
    print(f'{args.size} x {args.size} x {args.bands}, {args.device}, {args.threads} threads')

    plain_value, plain_time = measure(lambda: plain_ssim(result, scene), args.repeats)
    times = {}
    lq = F.avg_pool2d(scene.permute(2, 0, 1), 8).permute(1, 2, 0)
    data = {'img': result, 'img2': scene, 'lq': lq, 'rgb': scene[..., :3], 'response': torch.eye(3, args.bands)}
    for name in PAPER_METRICS + OTHER_METRICS + NO_REFERENCE_METRICS:
        options = {'type': name, 'scale': 8}
        metric = partial(calculate_metric, data, options)
        value, times[name] = measure(metric, args.repeats)
        print(f'{name:30s} {value:10.5f} {times[name]:8.1f} ms')
    total = sum(times[name] for name in PAPER_METRICS)
    print(f'{"plain conv2d SSIM":30s} {plain_value:10.5f} {plain_time:8.1f} ms')
    print(f'SSIM is {plain_time / times["calculate_hsi_ssim"]:.1f} times faster than the plain one;')
    print(
        f"the paper's four metrics and ERGAS together take {total:.0f} ms, {total / plain_time:.2f} of the plain SSIM."
    )


if __name__ == '__main__':
    main()
