"""Dataset of hyperspectral cubes, their low-resolution counterparts and their RGB guides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils import data

from mulsr_plugin.data.augmentation import Augmentation, augment, draw_augmentation
from mulsr_plugin.data.cube import check_cube, scaled_to_unit
from mulsr_plugin.data.degradation import Degradation, build_degradation
from mulsr_plugin.data.degradation.batch import STORABLE, storable
from mulsr_plugin.data.sample_seeds import SampleSeeds, key_generator
from mulsr_plugin.data.spectral_response import LARGEST_SHIFT, apply_spectral_response, load_spectral_response
from mulsr_plugin.data.store.folder import CubeFolder
from mulsr_plugin.data.store.reader import CubeStore
from mulsr_plugin.utils.distributed import world_size
from mulsr_plugin.utils.files import read_lines
from mulsr_plugin.utils.options import BLOCK, BOOLEAN, NAME, TEXT, Rule, check_block, choice, either, integer, require

_TRAIN_RULES = {
    'gt_size': integer(1),
    'crops_per_image': integer(1),
    **dict.fromkeys(('use_hflip', 'use_vflip', 'use_roll', 'use_rot', 'degrade', 'device_degradation'), BOOLEAN),
}
_RULES: dict[str, Rule] = {
    'name': NAME,
    **dict.fromkeys(('type', 'dataroot_gt', 'dataroot_lq', 'dataroot_rgb', 'meta_info_file'), TEXT),
    'phase': choice('train', 'val', 'test'),
    'scale': integer(2),
    'upscale': integer(2),
    'io_backend': BLOCK,
    'degradation': either(TEXT, BLOCK),
    'spectral_response': TEXT,
    'verify': BOOLEAN,
    **_TRAIN_RULES,
    # BasicSR's loader keys
    **dict.fromkeys(('use_shuffle', 'pin_memory', 'persistent_workers'), BOOLEAN),
    **dict.fromkeys(('batch_size_per_gpu', 'num_prefetch_queue'), integer(1)),
    'num_worker_per_gpu': integer(0),
    'prefetch_mode': choice('cpu', 'cuda'),
    'dataset_enlarge_ratio': Rule(
        lambda v: v == 1, '1 (repeated samples would be equal; raise crops_per_image instead)'
    ),
}


@DATASET_REGISTRY.register()
class PairedHSIRGBDataset(data.Dataset):
    """Hyperspectral cubes with low-resolution cubes and guide images, made on the fly or stored.

    Every sample is a dict of float32 tensors in [0, 1] and scene keys: ``gt`` (L, H, W), ``lq`` (L, h, w) with
    H = scale * h, ``rgb`` (G, H, W), ``gt_path``, ``lq_path``. Training samples are random crops, drawn as
    ``SampleSeeds`` describes; validation and test samples are whole scenes, cut at the bottom and right to multiples
    of the scale, with noise that is seeded by the scene key.

    Args:
        opt (dict): The data set's block of the option file; not changed. Its keys are

            dataroot_gt (str): Folder with the cubes, (H, W, L) each: an LMDB made by `mulsr prepare`, or
                files of any readable format. May be absent in validation and test if both others are given.
            dataroot_lq (str): Stored low-resolution cubes under the same keys, instead of degrading.
            dataroot_rgb (str): Stored guide images under the same keys, instead of applying a spectral response.
            io_backend (dict): type: lmdb or disk (for files; each is kept in memory once read).
            meta_info_file (str): Text file with one scene per line to use only these. Default: all.
            verify (bool): Check the checksum of every cube when it is first read (lmdb). Default: true.
            upscale (int): Scale factor, if it differs from the option file's ``scale``.
            degradation (str | dict): See ``build_degradation``. Default: authors_random to train, else authors_fixed.
            spectral_response (str): See ``load_spectral_response``; none leaves ``rgb`` out, for networks that take
                no guide. Default: nikon_d700.
            gt_size (int): Side of a training crop in high-resolution pixels, a multiple of the scale.
            crops_per_image (int): Crops of every scene in one epoch. Default: 1000.
            use_hflip, use_vflip, use_roll, use_rot (bool): Random operations on training crops. Default: true.
            degrade (bool): With false, training samples have no ``lq``: the model makes it. Default: true.
            device_degradation (bool): Training samples are crops as stored, with a seed: the model varies and degrades
                them and makes the guide, a batch at a time on its device. Default: false.

    Attributes:
        opt (dict): The options.
        scale (int): Scale factor.
        keys (list[str]): Scenes, sorted.
        num_bands (int): L.
        num_guide_ch (int): G; 0 without a guide.
        wavelengths (tuple[float, ...] | None): Band centres in nm.
        degradation (Degradation | None): What makes ``lq``; None where it is stored or left to the model.

    Raises:
        FileNotFoundError: A folder or file does not exist.
        ValueError: An option is wrong, or the stored cubes do not fit the options or one another.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        super().__init__()
        self.check_options(opt)
        self.opt = opt
        self.is_train = opt['phase'] == 'train'
        self.scale: int = opt.get('upscale') or opt['scale']
        self.cubes = {
            kind: _open_cubes(opt, f'dataroot_{kind}')
            for kind in ('gt', 'lq', 'rgb')
            if opt.get(f'dataroot_{kind}') is not None
        }
        self.keys = self._select_keys()
        self._check_shapes()
        if self.is_train:
            self._check_length()
        header = self.cubes['gt' if 'gt' in self.cubes else 'lq'].header(self.keys[0])
        self.num_bands: int = header.shape[2]
        self.wavelengths = header.wavelengths
        self.degradation = self._build_degradation()
        self.response = self._build_response()
        stored_ch = self.cubes['rgb'].header(self.keys[0]).shape[2] if 'rgb' in self.cubes else 0
        self.num_guide_ch: int = stored_ch if self.response is None else len(self.response)
        # the crops of a batch must be of one type
        dtypes = {kind: {cubes.header(key).dtype for key in self.keys} for kind, cubes in self.cubes.items()}
        self._can_stay_as_stored = {kind: len(found) == 1 and found <= STORABLE for kind, found in dtypes.items()}
        self._seeds = SampleSeeds(persistent_workers=bool(opt.get('persistent_workers')))
        get_root_logger().info(self.describe())

    @staticmethod
    def check_options(opt: Mapping[str, Any]) -> None:
        """Check the options alone, without a look at the data.

        Raises:
            ValueError: One sentence about the first mistake found.
        """
        _check_options(opt)

    def __len__(self) -> int:
        return len(self.keys) * (self._option('crops_per_image', 1000) if self.is_train else 1)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f'Sample {index} was asked for, but the data set has {len(self)}.')
        key = self.keys[index % len(self.keys)]
        if self.is_train:
            return self._training_sample(key, self._seeds.generator(index))
        return self._scene_sample(key)

    def set_epoch(self, epoch: int, seed: int) -> None:
        """Make the crops of the coming epoch a pure function of ``seed``, ``epoch`` and the index of the sample."""
        self._seeds.set_epoch(epoch, seed)

    def describe(self) -> str:
        """Return one line about the protocol: data, scale, degradation and guide."""
        if self.degradation is not None:
            lq = self.degradation.describe()
        else:
            lq = 'as stored' if 'lq' in self.cubes else 'made by the model'
        rgb = 'as stored' if 'rgb' in self.cubes else f'response {self._option("spectral_response", "nikon_d700")}'
        name = self.opt.get('name') or type(self).__name__
        return f'{name}: {len(self.keys)} scenes, {self.num_bands} bands, x{self.scale}; lq: {lq}; rgb: {rgb}'

    def _training_sample(self, key: str, rng: np.random.Generator) -> dict[str, Any]:
        top, left = self._draw_corner(key, rng)
        allowed = (self._option(f'use_{name}', True) for name in ('hflip', 'vflip', 'roll', 'rot'))
        operations = draw_augmentation(rng, *allowed)
        size = self.opt['gt_size']
        window = (top, left, size, size)
        if self.opt.get('device_degradation'):
            return self._stored_sample(key, window, operations, rng)
        cubes = {'gt': self._load('gt', key, window, operations)}
        if 'rgb' in self.cubes:
            cubes['rgb'] = self._load('rgb', key, window, operations)
        if 'lq' in self.cubes:
            cubes['lq'] = self._load('lq', key, tuple(n // self.scale for n in window), operations)
        return self._complete(key, cubes, rng)

    def _stored_sample(
        self, key: str, window: tuple[int, ...], operations: Augmentation, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Return the crop as it is stored, and all that the model needs to make a sample of it.

        ``gt_raw`` and, of a stored guide, ``rgb_raw`` are (H, W, C) as ``storable`` returns them, with the factors
        ``gt_scale`` and ``rgb_scale`` to [0, 1]; a guide that is to be made comes as its ``response`` (G, L).
        """
        sample: dict[str, Any] = {'gt_path': key, 'augmentation': torch.tensor(operations)}
        for kind in self.cubes:
            values, scale = self._read(kind, key, window)
            if not self._can_stay_as_stored[kind]:
                values, scale = scaled_to_unit(values, scale), 1.0
            sample.update({f'{kind}_raw': storable(values), f'{kind}_scale': scale})
        if self.response is not None:
            sample['response'] = torch.from_numpy(self.response)
        return {**sample, 'seed': int(rng.integers(2**63))}

    def _scene_sample(self, key: str) -> dict[str, Any]:
        height, width = self._full_size(key)
        cubes = {}
        for kind in self.cubes:
            step = self.scale if kind == 'lq' else 1
            cubes[kind] = self._load(kind, key, (0, 0, height // step, width // step))
        seed = 0 if self.degradation is None else self.degradation.seed
        return self._complete(key, cubes, key_generator(seed, key))

    def _complete(self, key: str, cubes: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, Any]:
        """Make what is not stored."""
        if self.response is not None:
            cubes['rgb'] = apply_spectral_response(self.response, cubes['gt'])
        if self.degradation is not None:
            cubes['lq'] = self.degradation(cubes['gt'], rng)
        sample: dict[str, Any] = {kind: torch.from_numpy(cube) for kind, cube in cubes.items()}
        return {**sample, **{f'{kind}_path': key for kind in ('gt', 'lq') if kind in cubes}}

    def _draw_corner(self, key: str, rng: np.random.Generator) -> tuple[int, int]:
        """Draw the top left pixel of a crop; with stored ``lq``, one where a low-resolution pixel begins."""
        step = self.scale if 'lq' in self.cubes else 1
        top, left = (int(rng.integers(0, (n - self.opt['gt_size']) // step + 1)) * step for n in self._full_size(key))
        return top, left

    def _load(self, kind: str, key: str, window: tuple[int, ...], operations: Augmentation | None = None) -> np.ndarray:
        """Read a window (top, left, height, width) as (L, H, W) float32 in [0, 1]."""
        values, scale = self._read(kind, key, window)
        values = values.transpose(2, 0, 1)
        if operations is not None:
            values = augment(values, operations)
        return scaled_to_unit(values, scale)

    def _read(self, kind: str, key: str, window: tuple[int, ...]) -> tuple[np.ndarray, float]:
        """Read a window as it is stored, (H, W, C), and its factor to [0, 1]."""
        cubes = self.cubes[kind]
        values, scale = cubes.read_window(key, *window), cubes.header(key).scale
        check_cube(f'{key} of dataroot_{kind}', values, scale)
        return values, scale

    def smallest_size(self) -> tuple[int, int]:
        """Return the smallest height and the smallest width of a scene, each cut to a multiple of the scale."""
        heights, widths = zip(*(self._full_size(key) for key in self.keys))
        return min(heights), min(widths)

    def _check_length(self) -> None:
        """Refuse an epoch without a whole batch: BasicSR's script would end untrained, and say nothing."""
        share = -(-len(self) // world_size())
        if share < self.opt['batch_size_per_gpu']:
            raise ValueError(
                f'One epoch has {share} samples per process, fewer than batch_size_per_gpu '
                f'{self.opt["batch_size_per_gpu"]}; raise crops_per_image or lower the batch size.'
            )

    def _full_size(self, key: str) -> tuple[int, int]:
        """Height and width of a scene, cut to multiples of the scale."""
        height, width, _ = self.cubes['gt' if 'gt' in self.cubes else 'rgb'].header(key).shape
        return height // self.scale * self.scale, width // self.scale * self.scale

    def _option(self, key: str, default: Any) -> Any:
        value = self.opt.get(key)
        return default if value is None else value

    def _build_degradation(self) -> Degradation | None:
        if 'lq' in self.cubes or not self._option('degrade', True) or self.opt.get('device_degradation'):
            return None
        return build_degradation(
            self._option('degradation', 'authors_random' if self.is_train else 'authors_fixed'), self.scale
        )

    def _build_response(self) -> np.ndarray | None:
        if 'rgb' in self.cubes or self.opt.get('spectral_response') == 'none':
            return None
        return load_spectral_response(self._option('spectral_response', 'nikon_d700'), self.num_bands, self.wavelengths)

    def _select_keys(self) -> list[str]:
        """Keys common to all folders; those of ``meta_info_file`` if there is one."""
        (first, keys), *others = ((kind, cubes.keys()) for kind, cubes in self.cubes.items())
        if self.opt.get('meta_info_file') is not None:
            keys = _read_key_list(self.opt['meta_info_file'], keys, f'dataroot_{first}')
        for kind, other in others:
            different = set(keys) - set(other)
            if self.opt.get('meta_info_file') is None:
                different |= set(other) - set(keys)
            if different:
                raise ValueError(
                    f'Scene {min(different)!r} is not in both dataroot_{first} and dataroot_{kind}; store every scene '
                    'under the same key in both, or choose scenes with meta_info_file.'
                )
        if not keys:
            raise ValueError(f'{self.opt[f"dataroot_{first}"]} holds no cubes; prepare it with `mulsr prepare`.')
        return sorted(keys)

    def _check_shapes(self) -> None:
        for kind, cubes in self.cubes.items():
            first = cubes.header(self.keys[0]).shape
            for key in self.keys:
                height, width, bands = cubes.header(key).shape
                if bands != first[2]:
                    raise ValueError(
                        f'Scene {key!r} of dataroot_{kind} has {bands} bands but {self.keys[0]!r} has {first[2]}; '
                        'all cubes of a data set need the same bands.'
                    )
                self._check_size(kind, key, (height, width))
        if 'gt' in self.cubes and 'lq' in self.cubes:
            self._check_bands_agree()
        self._check_wavelengths_agree()

    def _check_wavelengths_agree(self) -> None:
        """Refuse cubes of other bands, or the same in another order, which their number does not show."""
        headers = [
            (kind, key, self.cubes[kind].header(key).wavelengths)
            for kind in ('gt', 'lq')
            if kind in self.cubes
            for key in self.keys
        ]
        known = [(kind, key, waves) for kind, key, waves in headers if waves is not None]
        for kind, key, waves in known:
            largest = max(abs(a - b) for a, b in zip(waves, known[0][2]))
            if largest > LARGEST_SHIFT:
                raise ValueError(
                    f'Scene {key!r} of dataroot_{kind} has bands from {waves[0]:g} to {waves[-1]:g} nm, but '
                    f'{known[0][1]!r} of dataroot_{known[0][0]} from {known[0][2][0]:g} to {known[0][2][-1]:g} nm; all '
                    'cubes of a data set need the same bands in the same order.'
                )

    def _check_bands_agree(self) -> None:
        gt, lq = (self.cubes[kind].header(self.keys[0]).shape[2] for kind in ('gt', 'lq'))
        if gt != lq:
            raise ValueError(
                f'Cubes of dataroot_gt have {gt} bands but those of dataroot_lq {lq}; both need the same bands.'
            )

    def _check_size(self, kind: str, key: str, size: tuple[int, int]) -> None:
        full = self._full_size(key)
        reference = 'gt' if 'gt' in self.cubes else 'rgb'
        if min(full) < self.scale:
            raise ValueError(
                f'Scene {key!r} is {size[0]}x{size[1]}, smaller than one low-resolution pixel at scale {self.scale}.'
            )
        if self.is_train and min(full) < self.opt['gt_size']:
            raise ValueError(
                f'gt_size is {self.opt["gt_size"]} but scene {key!r} is {full[0]}x{full[1]} (cut to multiples of '
                f'{self.scale}); choose a smaller gt_size or leave the scene out with meta_info_file.'
            )
        expected = self.cubes[reference].header(key).shape[:2]
        if kind == 'lq':
            expected = (full[0] // self.scale, full[1] // self.scale)
        if tuple(size) != tuple(expected):
            raise ValueError(
                f'Scene {key!r} is {size[0]}x{size[1]} in dataroot_{kind}, expected {expected[0]}x{expected[1]} to fit '
                f'dataroot_{reference} at scale {self.scale}; correct the scale or the stored cubes.'
            )


def _check_options(opt: Mapping[str, Any]) -> None:
    where = f'data set {opt.get("name") or "block"!r}'
    check_block(opt, _RULES, where)
    require(opt, ['name', 'phase', 'io_backend'], where)
    if opt.get('upscale') is None:
        require(opt, ['scale'], where)
    given = {key for key, value in opt.items() if value is not None}
    if opt['phase'] == 'train':
        _check_train_options(opt, given, where)
        _check_loader_options(opt, where)
    elif opt.get('persistent_workers'):
        raise ValueError(f'{where}: persistent_workers has no workers to keep in phase {opt["phase"]}; remove it.')
    elif given & set(_TRAIN_RULES):
        raise ValueError(f'{where}: {min(given & set(_TRAIN_RULES))} has no effect in phase {opt["phase"]}; remove it.')
    if 'dataroot_gt' not in given and not {'dataroot_lq', 'dataroot_rgb'} <= given:
        raise ValueError(
            f'{where} has no dataroot_gt; add it, or both dataroot_lq and dataroot_rgb for data without ground truth.'
        )
    for stored, made in (('dataroot_lq', 'degradation'), ('dataroot_rgb', 'spectral_response')):
        if {stored, made} <= given:
            raise ValueError(f'{where} has both {stored} and {made}; keep {stored} to read it or {made} to make it.')


def _check_train_options(opt: Mapping[str, Any], given: set[str], where: str) -> None:
    require(opt, ['dataroot_gt', 'gt_size', 'batch_size_per_gpu', 'num_worker_per_gpu'], where)
    scale, size = opt.get('upscale') or opt['scale'], opt['gt_size']
    if size % scale:
        raise ValueError(
            f'{where}: gt_size is {size}, expected a multiple of the scale {scale}; '
            f'try {max(size // scale, 1) * scale}.'
        )
    if 'dataroot_lq' in given:
        if opt.get('device_degradation'):
            raise ValueError(f'{where} has dataroot_lq and device_degradation: true; remove one of them.')
        if opt.get('degrade') is False:
            raise ValueError(f'{where} has dataroot_lq and degrade: false; remove one of them.')
        if opt.get('use_roll') is not False and size // scale % 2:
            raise ValueError(
                f'{where}: gt_size {size} is an odd number of low-resolution pixels, which cannot be rolled by half; '
                f'make it a multiple of {2 * scale} or write use_roll: false.'
            )


def _check_loader_options(opt: Mapping[str, Any], where: str) -> None:
    """Refuse what PyTorch's loader or BasicSR's prefetcher meet with a traceback."""
    if opt.get('persistent_workers') and opt['num_worker_per_gpu'] == 0:
        raise ValueError(
            f'{where}: persistent_workers needs workers, but num_worker_per_gpu is 0; raise that or remove '
            'persistent_workers.'
        )
    if opt.get('prefetch_mode') == 'cuda' and not (torch.cuda.is_available() and opt.get('pin_memory')):
        raise ValueError(
            f'{where}: prefetch_mode: cuda needs a GPU and pin_memory: true; add the latter, or set prefetch_mode: ~.'
        )


def _open_cubes(opt: Mapping[str, Any], root_key: str) -> CubeStore | CubeFolder:
    backend, root = opt['io_backend'], Path(opt[root_key]).expanduser()
    where = f'io_backend of data set {opt.get("name") or "block"!r}'
    check_block(backend, {'type': choice('lmdb', 'disk')}, where)
    require(backend, ['type'], where)
    if not root.is_dir():
        raise FileNotFoundError(
            f'{root_key}: folder {str(root)!r} does not exist; correct the path, or prepare the data with '
            '`mulsr prepare`.'
        )
    return CubeStore(root, verify=opt.get('verify') is not False) if backend['type'] == 'lmdb' else CubeFolder(root)


def _read_key_list(path: str, known: list[str], root_key: str) -> list[str]:
    """Read scene keys, one a line, bare or in the form of BasicSR's meta_info.txt."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'meta_info_file {str(file)!r} does not exist; correct the path.')
    lines = (re.split(r'\s+\(', line.partition('#')[0])[0].strip() for line in read_lines(file))
    names = dict.fromkeys(line for line in lines if line)
    keys = [name if name in known else Path(name).stem for name in names]
    missing = sorted(set(keys) - set(known))
    if missing or not keys:
        what = f'names {", ".join(missing)}, not in {root_key}' if missing else 'names no scenes'
        raise ValueError(f'meta_info_file {file} {what}; correct the list or prepare these scenes.')
    return keys
