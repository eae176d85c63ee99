"""What the speed benchmark times: network, training, loader and metrics, ours beside a reference on the same data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from scipy.io import savemat
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mulsr_plugin.archs.mulsr_arch import MulSR
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from mulsr_plugin.data.store.reader import CubeStore
from mulsr_plugin.data.store.writer import CubeStoreWriter
from mulsr_plugin.models.inference import apply_network
from mulsr_plugin.models.mulsr_model import MulSRModel
from mulsr_plugin.ops.weight_norm import fold_weight_norm
from mulsr_plugin.utils.memory import memory_of_process
from scripts.dev.speed.measure import relative_difference

Work = Callable[[], Any]
BATCH_SIZE, CAVE_BANDS = 4, 31


class Reference(Protocol):
    """Code to compare with: the authors' release, or the literal form of the tests."""

    name: str

    def network(self, num_modules: int, scale: int) -> nn.Module:
        """Build its network."""

    def run_band(self, net: nn.Module, lq: Tensor, rgb: Tensor, band: int) -> Tensor:
        """Run its network on one band of cubes (B, L, h, w) with guides; return (B, 1, H, W)."""

    def weights(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the weights of its network under our names."""

    def training_set(self, folder: Path, scale: int, size: int) -> Any:
        """Training samples of a folder of .mat files with the cube under ``hsi``."""

    def metrics(self, result: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        """PSNR, SSIM, SAM and RMSE of two cubes (L, H, W)."""


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
    """One row of the table for the reference and one for each variant of ours.

    Attributes:
        work: What is timed.
        unit: One unit of the work.
        reference: The reference's work, and how many units it does.
        ours: The same by variant.
        difference: How far a variant's result is from the reference's, by variant.
        flops: Floating-point operations of one unit in the literal form; 0 where they mean nothing.
        peak_mib: Peak memory of the process (CPU) or of the tensors (GPU) by variant and for 'reference'.
    """

    work: str
    unit: str
    reference: tuple[Work, float]
    ours: dict[str, tuple[Work, float]]
    difference: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0
    peak_mib: dict[str, float | None] = field(default_factory=dict)


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
    step = _ReferenceTraining(setting.reference, theirs, images)
    with FlopCounterMode(display=False) as counter:
        wanted = step()
    works: dict[str, tuple[Work, float]] = {}
    difference = {}
    for name, options in variants.items():
        own = _OurTraining(setting, weights, images, options)
        loss = own()
        if options['band_update'] == 'per_band':  # one step for all bands is another training
            difference[name] = abs(loss - wanted) / wanted
        works[name] = own, units
    return Case(work, unit, (step, units), works, difference, counter.get_total_flops() / units)


class _ReferenceTraining:
    """One pass over the bands of a batch, with an optimiser step for each, as the release does; returns the loss."""

    def __init__(self, reference: Reference, net: nn.Module, images: Mapping[str, Tensor]) -> None:
        self.reference, self.net, self.images = reference, net, images
        self.optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)

    def __call__(self) -> float:
        total, gt = 0.0, self.images['gt']
        for band in range(gt.shape[1]):
            result = self.reference.run_band(self.net, self.images['lq'], self.images['rgb'], band)
            loss = nn.functional.l1_loss(result.squeeze(1), gt[:, band])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total / gt.shape[1]


class _OurTraining:
    """One iteration of MulSRModel on the same batch; returns the loss."""

    def __init__(
        self, setting: Setting, weights: Mapping[str, Tensor], images: Mapping[str, Tensor], train: Mapping[str, Any]
    ) -> None:
        self.model = MulSRModel(_training_options(setting, train))
        self.model.get_bare_model(self.model.net_g).load_state_dict(weights)
        self.images, self.iterations = images, count(1)

    def __call__(self) -> float:
        self.model.feed_data(self.images)
        self.model.optimize_parameters(next(self.iterations))
        return float(self.model.log_dict['l_pix'])


def _training_options(setting: Setting, train: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'name': 'speed',
        'model_type': 'MulSRModel',
        'scale': setting.scale,
        'num_gpu': int(setting.device.type == 'cuda'),
        'manual_seed': 0,
        'is_train': True,
        'dist': False,
        'rank': 0,
        'world_size': 1,
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


def loader_case(setting: Setting, folder: Path, samples: int = 400) -> Case:
    """Training samples per second of one thread, read, cropped, augmented and degraded."""
    lmdb = Path(setting.lmdb) if setting.lmdb else write_made_up_scenes(folder / 'scenes.lmdb', setting)
    mats = _write_mats(lmdb, folder / 'mat')
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
    return Case(f'training sample, {size}', 'sample', (read_few, few), {'fp32': (read, samples)})


def write_made_up_scenes(path: Path, setting: Setting) -> Path:
    """Write a store of three random 16-bit scenes."""
    rng = np.random.default_rng(0)
    with CubeStoreWriter(path) as writer:
        for number in range(3):
            cube = rng.integers(0, 65536, (setting.scene, setting.scene, CAVE_BANDS), dtype=np.uint16)
            writer.add(f'scene_{number}', cube, 1 / 65535)
    return path


def _write_mats(lmdb: Path, folder: Path) -> Path:
    """Write up to three scenes of a store under ``hsi``, as MATLAB does by default: double precision, compressed."""
    folder.mkdir()
    store = CubeStore(lmdb)
    for key in store.keys()[:3]:
        cube = store.read(key) * store.header(key).scale
        savemat(folder / f'{key}.mat', {'hsi': cube}, do_compression=True)
    store.close()
    return folder


def _read(dataset: Any, samples: int) -> None:
    for index in range(samples):
        dataset[index % len(dataset)]


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
    builders: dict[str, Callable[[], Iterator[Case]]] = {
        'crop': lambda: iter([forward_case(setting, setting.crop, range(setting.num_bands), with_peaks=False)]),
        'scene': lambda: iter([forward_case(setting, setting.scene, range(setting.scene_bands), with_peaks=True)]),
        'training': lambda: training_cases(setting),
        'metrics': lambda: iter([metrics_case(setting)]),
    }
    for name in chosen:
        if name in builders:
            yield from builders[name]()
    if 'loader' in chosen:
        with tempfile.TemporaryDirectory() as folder:
            yield loader_case(setting, Path(folder))
