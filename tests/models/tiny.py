"""A tiny data set and options for it, on which a whole training takes seconds."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.store.writer import CubeStoreWriter

METRICS = {
    'psnr': {'type': 'calculate_hsi_psnr', 'better': 'higher'},
    'sam': {'type': 'calculate_sam', 'better': 'lower'},
    'ergas': {'type': 'calculate_ergas', 'better': 'lower'},
}


def make_cube(seed: int, side: int = 32, num_bands: int = 5) -> np.ndarray:
    """A smooth uint16 cube (side, side, num_bands)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    phases = rng.uniform(0, 6, (num_bands, 2))
    bands = [0.5 + 0.2 * np.sin(7 * x + a) + 0.2 * np.cos(9 * y + b) for a, b in phases]
    return (np.stack(bands, axis=-1) * 65535).astype(np.uint16)


def make_stores(folder: Path, num_bands: int = 5, num_test: int = 3) -> None:
    """Write train.lmdb (two scenes), test.lmdb and response.npy into ``folder``."""
    for name, seeds in (('train', range(2)), ('test', range(10, 10 + num_test))):
        with CubeStoreWriter(folder / f'{name}.lmdb') as writer:
            for seed in seeds:
                wavelengths = tuple(np.linspace(450, 650, num_bands).tolist())
                writer.add(f'scene{seed}', make_cube(seed, num_bands=num_bands), 1 / 65535, wavelengths)
    response = np.random.default_rng(0).random((3, num_bands))
    np.save(folder / 'response.npy', response / response.sum(axis=1, keepdims=True))


def dataset_options(folder: Path, phase: str, **changes: Any) -> dict[str, Any]:
    """Options of the training or the test set in ``folder``, as they stand in an option file."""
    options = {
        'name': 'tiny',
        'type': 'PairedHSIRGBDataset',
        'dataroot_gt': str(folder / f'{phase if phase == "train" else "test"}.lmdb'),
        'io_backend': {'type': 'lmdb'},
        'spectral_response': str(folder / 'response.npy'),
        'degradation': 'authors_random' if phase == 'train' else 'authors_fixed',
    }
    if phase == 'train':
        options.update(gt_size=16, crops_per_image=4, num_worker_per_gpu=0, batch_size_per_gpu=2)
    return {**options, **changes}


def make_options(folder: Path, **train: Any) -> dict[str, Any]:
    """Options of a run of four iterations, before BasicSR has parsed them."""
    return {
        'name': 'tiny',
        'model_type': 'MulSRModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {'train': dataset_options(folder, 'train'), 'val': dataset_options(folder, 'val')},
        'network_g': {'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1},
        'path': {},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [1000], 'gamma': 0.5},
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'total_iter': 4,
            **train,
        },
        'val': {'val_freq': 4, 'save_img': False, 'metrics': deepcopy(METRICS)},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }


def parsed(opt: dict[str, Any], root: Path, is_train: bool = True) -> dict[str, Any]:
    """Add what BasicSR's parser adds."""
    for phase, dataset in opt['datasets'].items():
        dataset.update(phase=phase.split('_')[0], scale=opt['scale'])
    folders = ('models', 'training_states', 'visualization')
    opt['path'].update({name: str(root / name) for name in folders}, log=str(root))
    for name in folders:
        (root / name).mkdir(parents=True, exist_ok=True)
    opt.update(dist=False, rank=0, world_size=1, is_train=is_train, auto_resume=False, root_path=str(root))
    return opt
