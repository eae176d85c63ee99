"""What the speed benchmark times: network, training, loader and metrics, ours beside a reference on the same data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mulsr_plugin.archs.mulsr_arch import MulSR
from mulsr_plugin.data.augmentation import augment, draw_augmentation
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from mulsr_plugin.data.spectral_response import apply_spectral_response
from mulsr_plugin.data.store.writer import CubeStoreWriter
from mulsr_plugin.models.inference import apply_network
from mulsr_plugin.models.precision import autocast, float32_math
from mulsr_plugin.ops import scan_kernels
from mulsr_plugin.ops.scans import LineScan
from mulsr_plugin.ops.weight_norm import fold_weight_norm
from mulsr_plugin.utils.memory import memory_of_process
from scripts.dev.speed.measure import relative_difference
from scripts.dev.trainings import OurTraining, Reference, ReferenceTraining, Training, write_mats

Work = Callable[[], Any]
BATCH_SIZE, CAVE_BANDS = 4, 31
METRICS = (
    *('hsi_psnr', 'hsi_ssim', 'sam', 'rmse', 'ergas'),  # of the paper, and ERGAS
    *('mpsnr', 'cc', 'uiqi', 'q2n'),
    *('d_lambda', 'd_s', 'qnr', 'spectral_consistency', 'spatial_consistency'),  # without a reference
)


@dataclass(frozen=True)
class Setting:
    """Where and on what to measure.

    Attributes:
        reference: Code to compare with.
        device: CPU or GPU.
        num_modules: Modules of MulSR. Default: 2.
        scale: Scale factor. Default: 8.
        num_bands: Bands of the made-up cubes. Default: 31.
        crop: Side of a training crop in pixels. Default: 96.
        scene: Side of a whole scene. Default: 512.
        scene_bands: Bands of a whole scene that are computed; fewer save time. Default: 31.
        step_bands: Bands of the cubes for timing one step per band. Default: 4.
        lmdb: Store for the loader; None for made-up scenes.
    """

    reference: Reference
    device: torch.device
    num_modules: int = 2
    scale: int = 8
    num_bands: int = 31
    crop: int = 96
    scene: int = 512
    scene_bands: int = 31
    step_bands: int = 4
    lmdb: str | None = None


@dataclass
class Case:
    """One row of the table for the reference, which ratios are taken to, and one for each variant of ours.

    Attributes:
        work: What is timed.
        unit: One unit of the work.
        reference: The reference's work, and how many units it does.
        ours: The same by variant.
        difference: How far a variant's result is from the reference's, by variant.
        flops: Floating-point operations of one unit in the literal form; 0 where they mean nothing.
        peak_mib: Peak memory of the process (CPU) or of the tensors (GPU) by variant and for 'reference'.
        base: What ``reference`` is, where it is not the code that is compared with.
    """

    work: str
    unit: str
    reference: tuple[Work, float]
    ours: dict[str, tuple[Work, float]]
    difference: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0
    peak_mib: dict[str, float | None] = field(default_factory=dict)
    base: str | None = None


def build_networks(setting: Setting) -> tuple[nn.Module, MulSR]:
    """Build the reference's network and ours with the same weights."""
    torch.manual_seed(0)
    theirs = setting.reference.network(setting.num_modules, setting.scale)
    ours = MulSR(setting.scale, num_modules=setting.num_modules)
    ours.load_state_dict(setting.reference.weights(theirs))
    return theirs.to(setting.device), ours.to(setting.device)


def make_images(setting: Setting, side: int, num_bands: int, batch_size: int = 1) -> dict[str, Tensor]:
    """Random cubes and guides of a size, with values in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    small = side // setting.scale
    shapes = {
        'lq': (batch_size, num_bands, small, small),
        'rgb': (batch_size, 3, side, side),
        'gt': (batch_size, num_bands, side, side),
    }
    return {name: torch.rand(shape, generator=generator).to(setting.device) for name, shape in shapes.items()}


@torch.no_grad()
def reference_scene(reference: Reference, net: nn.Module, images: Mapping[str, Tensor], bands: Sequence[int]) -> Tensor:
    """Run the reference's network on bands, one after the other."""
    return torch.cat([reference.run_band(net, images['lq'], images['rgb'], band) for band in bands], dim=1)


def forward_case(setting: Setting, side: int, bands: Sequence[int], with_peaks: bool) -> Case:
    """Super-resolution of bands of one image of side x side pixels; memory peaks cost a process per variant."""
    theirs, ours = build_networks(setting)
    images, folded = make_images(setting, side, setting.num_bands), fold_weight_norm(ours)
    reference = partial(reference_scene, setting.reference, theirs, images, bands)
    works: dict[str, Work] = {
        precision: partial(apply_network, folded, images['lq'], images['rgb'], bands=bands, precision=precision)
        for precision in precisions_of(setting.device)
    }
    with FlopCounterMode(display=False) as counter:
        reference_scene(setting.reference, theirs, images, bands[:1])
    wanted = reference()
    return Case(
        f'forward, {side}x{side}, {len(bands)} bands',
        'band',
        (reference, len(bands)),
        {name: (work, len(bands)) for name, work in works.items()},
        {name: relative_difference(work(), wanted) for name, work in works.items()},
        counter.get_total_flops(),
        _peaks(setting, side, bands) if with_peaks else {},
    )


def training_cases(setting: Setting) -> Iterator[Case]:
    """Training: a step for one band, and batches of whole patches."""
    variants: dict[str, dict[str, Any]] = {'fp32': {'precision': 'fp32'}}
    if setting.device.type == 'cuda':
        variants['tf32'] = {'precision': 'tf32'}
        variants['tf32, CUDA graph'] = {'precision': 'tf32', 'cuda_graph': True}
    steps = {f'per_band {name}': {**options, 'band_update': 'per_band'} for name, options in variants.items()}
    yield _training_case(
        setting, 'training step of one band, batch 4', 'band', setting.step_bands, setting.step_bands, steps
    )
    size = f'{setting.crop}x{setting.crop}x{setting.num_bands}'
    chunk = 2 if setting.device.type == 'cpu' else setting.num_bands
    joint = {'band_update': 'joint', 'bands_per_chunk': chunk}
    whole: dict[str, dict[str, Any]] = {
        'joint fp32': {**joint, 'precision': 'fp32'},
        'joint bf16': {**joint, 'precision': 'bf16'},
    }
    if setting.device.type == 'cuda':
        whole['joint bf16, compiled'] = {**whole['joint bf16'], 'compile': True, 'channels_last': True}
    yield _training_case(setting, f'training on whole {size} patches', 'patch', setting.num_bands, BATCH_SIZE, whole)


def _training_case(
    setting: Setting, work: str, unit: str, num_bands: int, units: float, variants: Mapping[str, dict[str, Any]]
) -> Case:
    theirs, ours = build_networks(setting)
    weights = {name: value.clone() for name, value in ours.state_dict().items()}
    images = make_images(setting, setting.crop, num_bands, BATCH_SIZE)
    batch = (images['gt'], images['lq'], images['rgb'])
    step = partial(_train, ReferenceTraining(setting.reference, theirs, repeat(batch)))
    with FlopCounterMode(display=False) as counter:
        wanted = step()
    works: dict[str, tuple[Work, float]] = {}
    difference = {}
    for name, options in variants.items():
        training = OurTraining(_training_options(setting, options), setting.device, repeat(images))
        training.model.get_bare_model(training.model.net_g).load_state_dict(weights)
        own = partial(_train, training)
        loss = own()
        if options['band_update'] == 'per_band':  # one step for all bands is another training
            difference[name] = abs(loss - wanted) / wanted
        works[name] = own, units
    return Case(work, unit, (step, units), works, difference, counter.get_total_flops() / units)


def _train(training: Training) -> float:
    training.step()
    return training.loss()


def _training_options(setting: Setting, train: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'name': 'speed',
        'model_type': 'MulSRModel',
        'scale': setting.scale,
        'datasets': {},
        'network_g': {'type': 'MulSR', 'upscale': setting.scale, 'num_modules': setting.num_modules},
        'path': {},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': False},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [10**9], 'gamma': 0.5},
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'total_iter': 10**9,
            **train,
        },
    }


def loader_cases(setting: Setting, folder: Path, samples: int = 400) -> Iterator[Case]:
    """Training samples of one thread, read, cropped, augmented and degraded; then the steps of ours one by one."""
    lmdb = Path(setting.lmdb) if setting.lmdb else write_made_up_scenes(folder / 'scenes.lmdb', setting)
    mats = write_mats(lmdb, folder / 'mat', number=3, as_matlab=True)
    theirs = setting.reference.training_set(mats, setting.scale, setting.crop)
    ours = PairedHSIRGBDataset(
        {
            'name': 'speed',
            'phase': 'train',
            'scale': setting.scale,
            'gt_size': setting.crop,
            'dataroot_gt': str(lmdb),
            'io_backend': {'type': 'lmdb'},
            'batch_size_per_gpu': 1,
            'num_worker_per_gpu': 0,
        }
    )
    for index in range(len(ours.keys)):
        ours[index]  # reads every scene once: checksums, page cache
    few = max(1, samples // 50)
    read, read_few = partial(_read, ours, samples), partial(_read, theirs, few)
    read_few()
    size = f'{setting.crop}x{setting.crop}x{ours.num_bands}'
    yield Case(f'training sample, {size}', 'sample', (read_few, few), {'fp32': (read, samples)})
    steps = {
        name: (partial(_repeat, step, samples), samples) for name, step in _loader_steps(ours, setting.crop).items()
    }
    yield Case(f'steps of a training sample, {size}', 'sample', (read, samples), steps, base='whole sample')


def write_made_up_scenes(path: Path, setting: Setting) -> Path:
    """Write a store of three random 16-bit scenes."""
    rng = np.random.default_rng(0)
    with CubeStoreWriter(path) as writer:
        for number in range(3):
            cube = rng.integers(0, 65536, (setting.scene, setting.scene, CAVE_BANDS), dtype=np.uint16)
            writer.add(f'scene_{number}', cube, 1 / 65535)
    return path


def _read(dataset: Any, samples: int) -> None:
    for index in range(samples):
        dataset[index % len(dataset)]


def _repeat(work: Work, times: int) -> None:
    for _ in range(times):
        work()


def _loader_steps(dataset: PairedHSIRGBDataset, size: int) -> dict[str, Work]:
    """Return the steps of a sample on one and the same crop."""
    rng, key, cubes = np.random.default_rng(0), dataset.keys[0], dataset.cubes['gt']
    gt = dataset[0]['gt'].numpy()
    height, width, _ = cubes.header(key).shape
    values = cubes.read_window(key, 0, 0, size, size)
    assert dataset.degradation is not None and dataset.response is not None
    degradation, response = dataset.degradation, dataset.response

    def read_window() -> np.ndarray:
        top, left = rng.integers(0, height - size + 1), rng.integers(0, width - size + 1)
        return cubes.read_window(key, int(top), int(left), size, size)

    def augment_and_convert() -> np.ndarray:
        moved = augment(values.transpose(2, 0, 1), draw_augmentation(rng))
        return np.multiply(moved, np.float32(1 / 65535), dtype=np.float32, order='C', casting='unsafe')

    return {
        'read the window': read_window,
        'check the range': lambda: (values.min(), values.max()),
        'augment, convert to float': augment_and_convert,
        'make the guide': lambda: apply_spectral_response(response, gt),
        'blur, downsample, add noise': lambda: degradation(gt, rng),
    }


def metrics_case(setting: Setting) -> Case:
    """PSNR, SSIM, SAM and RMSE of one scene; the reference's are computed with NumPy and SciPy on any device."""
    scene = make_images(setting, setting.scene, setting.num_bands)['gt'][0]
    result = (scene + 0.02 * torch.randn_like(scene)).clamp_(0, 1)
    arrays = result.cpu().numpy(), scene.cpu().numpy()
    types = {'psnr': 'hsi_psnr', 'ssim': 'hsi_ssim', 'sam': 'sam', 'rmse': 'rmse'}

    def ours() -> dict[str, float]:
        # from the layout of a network's result, as validation does
        cubes = {'img': result.permute(1, 2, 0).contiguous(), 'img2': scene.permute(1, 2, 0).contiguous()}
        return {name: calculate_metric(cubes, {'type': f'calculate_{kind}'}) for name, kind in types.items()}

    reference = partial(setting.reference.metrics, *arrays)
    wanted, values = reference(), ours()
    difference = {'fp32': max(abs(values[name] - wanted[name]) / abs(wanted[name]) for name in types)}
    size = f'{setting.scene}x{setting.scene}x{setting.num_bands}'
    return Case(f'PSNR, SSIM, SAM, RMSE, {size}', 'scene', (reference, 1), {'fp32': (ours, 1)}, difference)


def single_metrics_case(setting: Setting) -> Case:
    """Every metric on a noisy result of a smooth scene, beside SSIM with two-dimensional windows."""
    result, scene = smooth_scene(setting)
    lq = nn.functional.avg_pool2d(scene.permute(2, 0, 1), setting.scale).permute(1, 2, 0)
    response = torch.eye(3, setting.num_bands)
    images = {'img': result, 'img2': scene, 'lq': lq, 'rgb': scene[..., :3], 'response': response}
    works = {
        name: partial(calculate_metric, images, {'type': f'calculate_{name}', 'scale': setting.scale})
        for name in METRICS
    }
    plain = partial(plain_ssim, result, scene)
    difference = {'hsi_ssim': abs(works['hsi_ssim']() - plain()) / plain()}
    for work in works.values():
        work()
    ours = {name: (work, 1.0) for name, work in works.items()}
    size = f'{setting.scene}x{setting.scene}x{setting.num_bands}'
    return Case(f'one metric, {size}', 'scene', (plain, 1), ours, difference, base='SSIM by 11x11 convolutions')


def smooth_scene(setting: Setting) -> tuple[Tensor, Tensor]:
    """Return a noisy result and a smooth reference in [0, 1], (H, W, L)."""
    torch.manual_seed(0)
    side, num_bands = setting.scene, setting.num_bands
    coarse = torch.rand(1, 1, -(-num_bands // 4) + 1, side // 16 + 1, side // 16 + 1)
    scene = nn.functional.interpolate(coarse, (num_bands, side, side), mode='trilinear')[0, 0]
    scene = scene.permute(1, 2, 0).contiguous()
    result = (scene + 0.02 * torch.randn_like(scene)).clamp_(0, 1)
    return result.to(setting.device), scene.to(setting.device)


def plain_ssim(img: Tensor, img2: Tensor) -> float:
    """Compute SSIM with five convolutions by the full 11 x 11 window."""
    offsets = torch.arange(11, device=img.device) - 5.0
    weights = torch.exp(-offsets.square() / 4.5)
    window = (torch.outer(weights, weights) / weights.sum().square())[None, None]
    first, second = (cube.permute(2, 0, 1)[:, None] for cube in (img, img2))
    fields = (first, second, first * first, second * second, first * second)
    mean, mean2, square, square2, product = (nn.functional.conv2d(field, window) for field in fields)
    structure = (2 * (product - mean * mean2) + 0.03**2) / (square - mean**2 + square2 - mean2**2 + 0.03**2)
    luminance = (2 * mean * mean2 + 0.01**2) / (mean**2 + mean2**2 + 0.01**2)
    return float((luminance * structure).mean())


def scan_case(shape: Sequence[int], precision: str, device: torch.device, with_gradients: bool = False) -> Case:
    """A scan down and up the rows of a map (B, C, H, W), with the Triton kernels (on a GPU) and in single steps.

    Args:
        shape: Of the map.
        precision: 'fp32', 'tf32' or 'bf16'.
        device: Where to scan; a CPU does without kernels either way.
        with_gradients: Also time the derivative. Default: False.
    """
    scan = LineScan(shape[1], 'rows').to(device)
    dtype = torch.bfloat16 if precision == 'bf16' else torch.float32
    x = torch.randn(*shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    x.requires_grad_(with_gradients)

    def run() -> None:
        with torch.set_grad_enabled(with_gradients), autocast(precision, device):
            y = scan(x)
        if with_gradients:
            with float32_math(precision, device):
                y.backward(torch.ones_like(y))

    def run_in_single_steps() -> None:
        with scan_kernels.disabled():
            run()

    run_in_single_steps()
    run()
    name = f'line scan, {"x".join(map(str, shape))}, {precision}{", with gradients" if with_gradients else ""}'
    return Case(name, 'map', (run_in_single_steps, 1), {'kernels': (run, 1)}, base='single steps')


def precisions_of(device: torch.device) -> list[str]:
    """Return the precisions in which the forward pass is measured."""
    return ['fp32', 'bf16'] if device.type == 'cpu' else ['fp32', 'tf32', 'bf16']


def _peaks(setting: Setting, side: int, bands: Sequence[int]) -> dict[str, float | None]:
    """Peak memory of the forward pass by variant, each in a process of its own."""
    peaks: dict[str, float | None] = {}
    for variant in ['reference', *precisions_of(setting.device)]:
        with ProcessPoolExecutor(1, get_context('spawn')) as pool:
            peaks[variant] = pool.submit(_peak, setting, side, bands, variant).result()
    return peaks


def _peak(setting: Setting, side: int, bands: Sequence[int], variant: str) -> float | None:
    """MiB of this process at its largest (CPU, Linux only), or of its tensors (GPU), for one forward pass."""
    theirs, ours = build_networks(setting)
    images = make_images(setting, side, setting.num_bands)
    if variant == 'reference':
        # the release holds one band at a time, so a few bands need what all need
        reference_scene(setting.reference, theirs, images, bands[:2])
    else:
        apply_network(fold_weight_norm(ours), images['lq'], images['rgb'], bands=bands, precision=variant)
    if setting.device.type == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**20
    return memory_of_process('VmHWM')


def all_cases(setting: Setting, chosen: Sequence[str]) -> Iterator[Case]:
    """Build the cases one after the other, so that only one is in memory."""
    crop = (BATCH_SIZE, 64, setting.crop // 2, setting.crop // 2)
    with tempfile.TemporaryDirectory() as folder:
        builders: dict[str, Callable[[], Iterable[Case]]] = {
            'crop': lambda: [forward_case(setting, setting.crop, range(setting.num_bands), with_peaks=False)],
            'scene': lambda: [forward_case(setting, setting.scene, range(setting.scene_bands), with_peaks=True)],
            'training': lambda: training_cases(setting),
            'loader': lambda: loader_cases(setting, Path(folder)),
            'metrics': lambda: (case(setting) for case in (metrics_case, single_metrics_case)),
            'scan': lambda: (
                scan_case(crop, precision, setting.device, with_gradients=True)
                for precision in precisions_of(setting.device)
            ),
        }
        for name in chosen:
            yield from builders[name]()
