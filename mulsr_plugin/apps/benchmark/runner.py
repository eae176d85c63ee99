"""Run networks over data sets under one protocol; every finished image is kept, so that a run can be continued."""

from __future__ import annotations

import hashlib
import json
import platform
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset
from torch import Tensor
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from mulsr_plugin import __version__
from mulsr_plugin.apps.benchmark.options import UNTRAINED
from mulsr_plugin.apps.benchmark.tables import write_tables
from mulsr_plugin.archs.bands import split_bands
from mulsr_plugin.checkpoints.description import scales_text
from mulsr_plugin.models.hsi_sr_model import HSISRModel
from mulsr_plugin.models.measurement import ValidationMetrics
from mulsr_plugin.models.validation import central_crop
from mulsr_plugin.utils.files import replace_text, replacing
from mulsr_plugin.utils.memory import forget_peak_of_process, memory_of_process

FLOP_CROP = 16  # side in low-resolution pixels of the crop on which operations are counted
_CONVENTIONS = {
    'calculate_hsi_psnr': 'PSNR in dB of the whole cube, peak 1',
    'calculate_hsi_ssim': 'SSIM with an 11x11 Gaussian of std 1.5, valid region, mean over bands',
    'calculate_sam': 'SAM in degrees, mean over pixels',
    'calculate_rmse': 'RMSE on [0, 1]',
    'calculate_ergas': 'ERGAS with 100/scale and the band means of the reference',
}


class Benchmark:
    """Networks, data sets, and what has been measured of them.

    ``results.json`` in the folder holds everything and is written anew, whole or not at all, after every image; the
    tables are made from it. A (data set, entry, image) found there is not run again.

    Args:
        opt: Options of :func:`mulsr_plugin.apps.benchmark.options.complete_options`.
        root: Folder that gets ``results/<name>/``.
        progress: Show a progress bar.

    Attributes:
        folder: ``results/<name>``.
        failures: One sentence for each entry or data set that could not be run.

    Raises:
        ValueError: The folder holds results of other settings, or CUDA is asked for where there is none.
    """

    def __init__(self, opt: Mapping[str, Any], root: str | Path, progress: bool = True) -> None:
        self.opt = opt
        self.folder = Path(root) / 'results' / opt['name']
        self.progress = progress
        self.failures: list[str] = []
        self.use_cuda = _wants_cuda(opt['device'])
        self.datasets: dict[str, Any] = {}
        self.settings = self._settings()
        self.rows: list[dict[str, Any]] = self._finished_rows()

    def run(self, published: bool = False) -> list[str]:
        """Run what is not finished and write the tables.

        Args:
            published: Add the published figures as a block of their own.

        Returns:
            One sentence for each failure; empty when all went well.
        """
        for block in self.opt['datasets']:
            self._guarded(f'Data set {block["name"]!r}', lambda b=block: self._open_dataset(b))
        images = sum(self._count(dataset) for dataset in self.datasets.values())
        total = images * len(self.opt['entries'])
        with tqdm(total=total, unit='image', disable=not self.progress) as bar:
            for entry in self.opt['entries']:
                bar.set_description(entry['name'])
                done = bar.n
                self._guarded(f'Entry {entry["name"]!r}', lambda e=entry: self._run_entry(e, bar))
                bar.update(done + images - bar.n)
        self._write()
        write_tables(self.folder, self._content(), published)
        return self.failures

    def _run_entry(self, entry: Mapping[str, Any], bar: Any) -> None:
        todo = {name: self._unfinished(entry, name) for name in self.datasets}
        bar.update(sum(self._count(self.datasets[name]) - len(indices) for name, indices in todo.items()))
        if not any(todo.values()):
            return
        model = build_entry(entry, self.opt, self.use_cuda)
        for name, indices in todo.items():
            where = f'Entry {entry["name"]!r} on data set {name!r}'
            self._guarded(where, lambda n=name, i=indices: self._run_images(entry, model, n, i, bar))

    def _run_images(
        self, entry: Mapping[str, Any], model: HSISRModel, name: str, indices: Iterable[int], bar: Any
    ) -> None:
        flops_per_pixel = None
        metrics = ValidationMetrics(self.opt['metrics'], self.datasets[name], self.opt['scale'])
        for index in indices:
            sample = self._sample(name, index)
            if flops_per_pixel is None:
                flops_per_pixel = count_flops(model, sample, self.opt['scale'], entry['bands_per_chunk'])
            image = sample['gt_path']
            model.feed_data(default_collate([sample]))
            result, cost = measure(model, entry['bands_per_chunk'])
            reference, lq = (cube[0].permute(1, 2, 0).contiguous() for cube in (model.gt, model.lq))
            guide = model.rgb[0].permute(1, 2, 0) if 'rgb' in sample else None
            images = {'img': result, 'img2': reference, 'lq': lq, 'rgb': guide}
            self._save_cube(name, entry['name'], image, result)
            row = {
                'dataset': name,
                'entry': entry['name'],
                'image': image,
                **metrics.measure(image, images),
                'weights': model.weights_key,
                'parameters': sum(p.numel() for p in model.net_g.parameters()),
                'gflops': flops_per_pixel * reference[..., 0].numel() / 1e9,
                **cost,
            }
            self.rows = [old for old in self.rows if _triple(old) != _triple(row)] + [row]
            self._write()
            bar.update()

    def _sample(self, name: str, index: int) -> dict[str, Any]:
        dataset = self.datasets[name]
        sample = dataset[index]
        if 'gt' not in sample:
            raise ValueError(f'{name} has no ground truth, so nothing can be measured; give it dataroot_gt.')
        return central_crop(sample, self.opt['crop_size'], self.opt['scale'])

    def _save_cube(self, dataset: str, entry: str, image: str, cube: Tensor) -> None:
        if not self.opt['save_cubes']:
            return
        path = self._cube_path(dataset, entry, image)
        path.parent.mkdir(parents=True, exist_ok=True)
        form = 'float32' if self.opt['save_cubes'] == 'float32' else 'float16'
        with replacing(path) as file:
            np.save(file, cube.cpu().numpy().astype(form))

    def _cube_path(self, dataset: str, entry: str, image: str) -> Path:
        return self.folder / 'cubes' / dataset / entry / f'{image}.npy'

    def _unfinished(self, entry: Mapping[str, Any], name: str) -> list[int]:
        finished = {_triple(row) for row in self.rows}
        keys = self.datasets[name].keys[: self._count(self.datasets[name])]
        return [
            index
            for index, key in enumerate(keys)
            if (name, entry['name'], key) not in finished
            or (self.opt['save_cubes'] and not self._cube_path(name, entry['name'], key).is_file())
        ]

    def _count(self, dataset: Any) -> int:
        return min(len(dataset), self.opt['max_images'] or len(dataset))

    def _open_dataset(self, block: Mapping[str, Any]) -> None:
        dataset = build_dataset(deepcopy(dict(block)))
        if not hasattr(dataset, 'keys'):
            raise ValueError(f'{block["type"]} has no attribute keys, which must list its scenes; add it.')
        self.datasets[block['name']] = dataset

    def _guarded(self, where: str, action: Any) -> None:
        """Run a part whose failure must not end the others; a network of the user may raise anything."""
        try:
            action()
        except Exception as error:
            text = ' '.join(str(error).split()) or 'no message'
            expected = isinstance(error, (ValueError, FileNotFoundError))
            sentence = text if expected else f'{type(error).__name__}: {text} (details in errors.log)'
            self.failures.append(f'{where}: {sentence}')
            if not expected:
                self.folder.mkdir(parents=True, exist_ok=True)
                with open(self.folder / 'errors.log', 'a', encoding='utf-8') as file:
                    file.write(f'{where}\n{traceback.format_exc()}\n')

    def _settings(self) -> dict[str, Any]:
        """Return what rows of a table, an entry or a data set must have in common, which is compared on resuming."""
        common = {key: self.opt[key] for key in ('scale', 'crop_size', 'metrics', 'manual_seed')}
        for block in self.opt['datasets']:
            common[f'data set {block["name"]}'] = block
        for entry in self.opt['entries']:
            common[f'entry {entry["name"]}'] = {**entry, 'sha256': _checksum(entry['checkpoint'])}
        common['environment'] = {
            'device': torch.cuda.get_device_name() if self.use_cuda else f'CPU {platform.machine()}',
            'torch': torch.__version__,
            'mulsr_plugin': __version__,
        }
        return json.loads(json.dumps(common))

    def _finished_rows(self) -> list[dict[str, Any]]:
        path = self.folder / 'results.json'
        if not path.is_file():
            return []
        try:
            stored = json.loads(path.read_text(encoding='utf-8'))
            settings, rows = stored['settings'], stored['rows']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is damaged; move the folder away, or give the benchmark another name.') from error
        for key, value in settings.items():
            if self.settings.get(key, value) != value and (_is_used(key, rows)):
                raise ValueError(
                    f'{self.folder} holds results of another {key}; give the benchmark another name, or move that '
                    'folder away to run everything again.'
                )
        # entries that are left out of the file for now keep their rows
        self.settings = {**settings, **self.settings}
        return rows

    def _content(self) -> dict[str, Any]:
        entries = [entry['name'] for entry in self.opt['entries']]
        wanted = {
            (name, key) for name, dataset in self.datasets.items() for key in dataset.keys[: self._count(dataset)]
        }
        return {
            'name': self.opt['name'],
            'scale': self.opt['scale'],
            'crop_size': self.opt['crop_size'],
            'entries': entries,
            'checkpoints': {entry['name']: entry['checkpoint'] for entry in self.opt['entries']},
            'datasets': {
                block['name']: {
                    'options': block,
                    'protocol': self._protocol(block),
                    'images': [key for name, key in sorted(wanted) if name == block['name']],
                }
                for block in self.opt['datasets']
                if block['name'] in self.datasets
            },
            'metrics': self.opt['metrics'],
            'failures': self.failures,
            'settings': self.settings,
            'rows': self.rows,
        }

    def _protocol(self, block: Mapping[str, Any]) -> str:
        """Everything that a figure depends on, in one line."""
        dataset = self.datasets[block['name']]
        data = dataset.describe() if hasattr(dataset, 'describe') else block['name']
        source = block.get('meta_info_file') or block.get('dataroot_gt')
        part = f'central {self.opt["crop_size"]}x{self.opt["crop_size"]} pixels' if self.opt['crop_size'] else 'whole'
        metrics = '; '.join(_convention(metric) for metric in self.opt['metrics'].values())
        machine = self.settings['environment']
        memory = 'allocated on the GPU' if self.use_cuda else 'by which the process grows'
        return (
            f'{data}; {self._count(dataset)} of them tested, {part}, from {source}; '
            f'results clamped to [0, 1]; {metrics}; '
            f'FLOPs counted on {FLOP_CROP}x{FLOP_CROP} low-resolution pixels and scaled by area, one multiply-add is '
            f'two; peak memory: {memory}; '
            f'{machine["device"]}, PyTorch {machine["torch"]}, mulsr_plugin {machine["mulsr_plugin"]}'
        )

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_text(self.folder / 'results.json', json.dumps(self._content(), indent=1))


def build_entry(entry: Mapping[str, Any], opt: Mapping[str, Any], use_cuda: bool) -> HSISRModel:
    """Build the network of an entry with its weights.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The network is unknown, takes no such options, or the checkpoint is another network's or was trained
            for another scale.
    """
    trained = entry['checkpoint'] != UNTRAINED
    torch.manual_seed(opt['manual_seed'])
    model = HSISRModel(
        {
            'name': opt['name'],
            'model_type': 'HSISRModel',
            'scale': opt['scale'],
            'num_gpu': int(use_cuda),
            'network_g': deepcopy(dict(entry['network_g'])),
            'path': {
                'pretrain_network_g': entry['checkpoint'] if trained else None,
                'param_key_g': entry['param_key'],
                'strict_load_g': True,
            },
            'manual_seed': opt['manual_seed'],
            'datasets': {},
            'val': {'save_img': False, 'metrics': deepcopy(opt['metrics'])},
            'dist': False,
            'rank': 0,
            'world_size': 1,
            'is_train': False,
        }
    )
    _check_scale(model.trained_as, opt['scale'], entry['checkpoint'])
    model.net_g.eval()
    return model


def _check_scale(trained_as: Mapping[str, Any] | None, scale: int, checkpoint: str) -> None:
    """Refuse weights of another scale, as inference does: MulSR's tensors fit at any even one."""
    if trained_as is not None and scale not in trained_as['scales']:
        raise ValueError(
            f'{checkpoint} was trained for {scales_text(trained_as["scales"])}, not for x{scale}: give weights or data '
            'sets of the same scale.'
        )


@torch.no_grad()
def run_model(model: HSISRModel, bands_per_chunk: int | None) -> Tensor:
    """Run the model's network on its current batch of one image.

    Returns:
        (H, W, L) in [0, 1] on the model's device.

    Raises:
        ValueError: The network returns anything but a finite cube of the size of the ground truth.
    """
    num_bands = model.lq.shape[1]
    whole: list[Any] = [None]
    chunks = split_bands(range(num_bands), bands_per_chunk) if model.is_bandwise else whole
    network = type(model.net_g).__name__
    outputs = []
    for chunk in chunks:
        output = model.run_network(model.net_g, chunk)
        expected = (1, num_bands if chunk is None else len(chunk), *model.gt.shape[2:])
        if not isinstance(output, Tensor) or tuple(output.shape) != expected:
            came = tuple(output.shape) if isinstance(output, Tensor) else f'a {type(output).__name__}'
            raise ValueError(f'{network} returned {came}, expected a tensor of shape {expected}; correct its forward.')
        outputs.append(output.float())
    result = torch.cat(outputs, dim=1)
    if not bool(torch.isfinite(result).all()):
        raise ValueError(f'{network} returned NaN or infinite values; check its weights and its training.')
    return result[0].permute(1, 2, 0).clamp(0, 1).contiguous()


def measure(model: HSISRModel, bands_per_chunk: int | None) -> tuple[Tensor, dict[str, float | None]]:
    """Super-resolve the current batch; return the cube, and seconds and peak memory in MiB.

    The memory is what PyTorch allocates at most on a GPU, and on a CPU the growth of the process (None where the
    system does not report it). Reading the image and measuring its quality are not in either.
    """
    on_gpu = model.device.type == 'cuda'
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    before = None if on_gpu else forget_peak_of_process()
    start = time.perf_counter()
    result = run_model(model, bands_per_chunk)
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    if on_gpu:
        return result, {'seconds': seconds, 'memory_mib': torch.cuda.max_memory_allocated() / 2**20}
    after = memory_of_process('VmHWM')
    memory = None if before is None or after is None else max(after - before, 0.0)
    return result, {'seconds': seconds, 'memory_mib': memory}


def count_flops(model: HSISRModel, sample: Mapping[str, Any], scale: int, bands_per_chunk: int | None) -> float:
    """Count the operations of a network on a small crop; this also warms it up.

    Args:
        model: Model of the entry.
        sample: An image as the data set returns it.
        scale: Scale factor.
        bands_per_chunk: Bands at a time, for band-wise networks.

    Returns:
        Floating-point operations per high-resolution pixel, all bands; a multiply-add counts as two.
    """
    side = min(FLOP_CROP, *sample['lq'].shape[-2:])
    model.feed_data(default_collate([central_crop(sample, side * scale, scale)]))
    counter = FlopCounterMode(display=False)
    with counter:
        run_model(model, bands_per_chunk)
    return counter.get_total_flops() / (side * scale) ** 2


def _wants_cuda(device: str) -> bool:
    available = torch.cuda.is_available()
    if device == 'cuda' and not available:
        raise ValueError('device is cuda, but PyTorch sees no GPU; write device: auto or cpu.')
    return device != 'cpu' and available


def _checksum(checkpoint: str) -> str | None:
    path = Path(checkpoint)
    return hashlib.sha256(path.read_bytes()).hexdigest() if checkpoint != UNTRAINED and path.is_file() else None


def _triple(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row['dataset'], row['entry'], row['image']


def _is_used(key: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether any result depends on a setting: that of an entry which failed may be corrected."""
    for column, start in (('entry', 'entry '), ('dataset', 'data set ')):
        if key.startswith(start):
            return any(row[column] == key[len(start) :] for row in rows)
    return bool(rows)


def _convention(metric: Mapping[str, Any]) -> str:
    extra = ', '.join(f'{key} {value}' for key, value in metric.items() if key not in ('type', 'better'))
    text = _CONVENTIONS.get(metric['type'], metric['type'])
    return f'{text} ({extra})' if extra else text
