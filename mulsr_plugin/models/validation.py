"""Validation of hyperspectral models in float: metrics per image and mean, pictures, cubes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils import get_root_logger, get_time_str
from basicsr.utils.dist_util import get_dist_info
from scipy.io import savemat
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import default_collate
from tqdm import tqdm

from mulsr_plugin.data.false_colour import comparison_panel, false_colour
from mulsr_plugin.models.inference import DEFAULT_HALO
from mulsr_plugin.models.measurement import ValidationMetrics, better_direction
from mulsr_plugin.models.validation_plots import validation_plots
from mulsr_plugin.utils.options import RunError
from mulsr_plugin.utils.tables import csv_text


def validate(model: Any, dataset: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
    """Run ``model`` on the images of ``dataset`` and report; every process of a distributed run takes its share.

    Options, all in the ``val`` block: ``metrics``; ``crop_size`` (side in high-resolution pixels of the central crop
    used instead of the whole image); ``max_images`` (only the first ones); ``bands`` (a list of band indices, or how
    many evenly spaced ones); ``save_img`` (false-colour PNG of each result); ``save_cube: mat | npy`` (each result);
    ``suffix`` (of their file names); ``pbar``.

    Metrics are computed on cubes (H, W, L) clamped to [0, 1]; without ground truth those that need none, see
    :class:`mulsr_plugin.models.measurement.ValidationMetrics`. Their means go to the log and to TensorBoard, the values
    of every image to ``metrics_<data set>.csv`` in the experiment's folder.

    Args:
        model: An HSISRModel.
        dataset: Data set with samples as PairedHSIRGBDataset returns them.
        current_iter: Iteration, or the experiment's name when testing; names the files.
        tb_logger: TensorBoard writer or None.
        save_img: Whether to write false-colour pictures.

    Raises:
        ValueError: ``crop_size`` is not a multiple of the scale or a band index is out of range.
    """
    options = model.opt['val']
    rank, world_size = get_dist_info()
    count = min(len(dataset), options.get('max_images') or len(dataset))
    indices = range(rank, count, world_size)
    if options.get('pbar') and rank == 0:
        indices = tqdm(indices, unit='image', desc=f'Validating {dataset.opt["name"]}')
    rows: list[dict[str, Any]] = []
    pictures: dict[str, np.ndarray] = {}
    metrics = ValidationMetrics(options.get('metrics') or {}, dataset, _scale(model, dataset))
    failure: Exception | None = None
    try:
        for index in indices:
            name, values, shown = _validate_image(model, dataset, metrics, index, current_iter, save_img)
            rows.append({'index': index, 'image': name, **values})
            pictures.update(shown)
    except Exception as error:  # whatever it is, the other processes of a run wait for this one
        failure = error
    _raise_in_all(failure, world_size)
    rows, pictures = _gather(rows, pictures, world_size)
    if rank == 0:
        _report(model, dataset, metrics, current_iter, tb_logger, rows, pictures)


def _validate_image(
    model: Any, dataset: Any, metrics: ValidationMetrics, index: int, current_iter: int | str, save_img: bool
) -> tuple[str, dict[str, float], dict[str, np.ndarray]]:
    """Super-resolve one image; return its name, its metrics and pictures of it for TensorBoard, if in use."""
    options, scale = model.opt['val'], _scale(model, dataset)
    sample = default_collate([central_crop(dataset[index], options.get('crop_size'), scale)])
    name = os.path.basename(sample['lq_path'][0])
    bands = chosen_bands(options.get('bands'), sample['lq'].shape[1])
    model.feed_data(sample)
    start = time.perf_counter()
    outputs = {key: _to_cube(value) for key, value in model.predict(bands).items()}
    if model.device.type == 'cuda':
        torch.cuda.synchronize()  # GPUs work in the background: wait before reading the clock
    values = {'seconds': time.perf_counter() - start}
    gt = model.gt[:, bands] if hasattr(model, 'gt') else None
    reference = None if gt is None else _to_cube(gt)
    lq = _to_cube(model.lq[:, bands])
    guide = _to_cube(model.rgb) if 'rgb' in sample else None
    images = {'img': outputs['result'], 'img2': reference, 'lq': lq, 'rgb': guide}
    values.update(metrics.measure(name, images, bands))
    if gt is not None and 'small' in outputs:
        small = metrics.measure_small(outputs['small'], _to_cube(F.avg_pool2d(gt, 2)))
        values.update({f'{key}_x{scale // 2}': value for key, value in small.items()})
    wavelengths = _wavelengths(dataset, bands)
    _save(model, dataset, name, current_iter, outputs['result'], wavelengths, save_img)
    if not _uses_tensorboard(model):
        return name, values, {}
    pictures = {name: comparison_panel(outputs['result'], reference, lq, wavelengths)}
    for kind, plot in validation_plots(outputs['result'], reference, wavelengths).items():
        pictures[f'{name}/{kind}'] = plot
    return name, values, pictures


def _uses_tensorboard(model: Any) -> bool:
    """Decide as BasicSR does; asking its writer would not do, as only the first process has one."""
    return model.is_train and model.opt['logger']['use_tb_logger'] and 'debug' not in model.opt['name']


def _scale(model: Any, dataset: Any) -> int:
    return int(getattr(dataset, 'scale', None) or model.opt['scale'])


def _to_cube(batch: Tensor) -> Tensor:
    """(1, L, H, W) to (H, W, L), in this order in memory: metrics gain far more by that than the copy takes."""
    return batch[0].permute(1, 2, 0).contiguous()


def central_crop(sample: Mapping[str, Any], side: int | None, scale: int) -> dict[str, Any]:
    """Cut the same central square out of every image of a sample.

    Args:
        sample: ``lq`` (L, h, w) and, where present, ``gt`` and ``rgb`` of ``scale`` times its size.
        side: Side of the square in high-resolution pixels; None leaves the sample as it is.
        scale: Scale factor.

    Raises:
        ValueError: ``side`` is not a multiple of the scale, or larger than the image.
    """
    sample = dict(sample)
    if side is None:
        return sample
    if side % scale:
        raise ValueError(f'crop_size {side} is not a multiple of the scale {scale}; choose one that is.')
    height, width = sample['lq'].shape[-2:]
    lq_side = side // scale
    if lq_side > min(height, width):
        raise ValueError(
            f'crop_size {side} is larger than {sample["lq_path"]} ({height * scale}x{width * scale}); '
            'choose a smaller one or leave it out.'
        )
    top, left = (height - lq_side) // 2, (width - lq_side) // 2
    for key, factor in (('lq', 1), ('rgb', scale), ('gt', scale)):
        if key in sample:
            rows, columns = (slice(start * factor, (start + lq_side) * factor) for start in (top, left))
            sample[key] = sample[key][..., rows, columns]
    return sample


def chosen_bands(choice: int | Sequence[int] | None, num_bands: int) -> list[int]:
    """Return the band indices meant by ``val: bands``: all, some evenly spaced ones, or those of a list.

    Raises:
        ValueError: There is no such band.
    """
    if choice is None:
        return list(range(num_bands))
    if isinstance(choice, int):
        return sorted({int(band) for band in np.linspace(0, num_bands - 1, min(choice, num_bands)).round()})
    if max(choice) >= num_bands:
        raise ValueError(f'val: bands names band {max(choice)}, but the cubes have bands 0 to {num_bands - 1}.')
    return list(choice)


def _wavelengths(dataset: Any, bands: Sequence[int]) -> list[float] | None:
    wavelengths = getattr(dataset, 'wavelengths', None)
    return None if wavelengths is None else [wavelengths[band] for band in bands]


def _save(
    model: Any, dataset: Any, name: str, current_iter: int | str, cube: Tensor, wavelengths: Any, save_img: bool
) -> None:
    """Write the false-colour picture and the cube that the options ask for."""
    form = model.opt['val'].get('save_cube')
    if not (save_img or form):
        return
    folder = os.path.join(model.opt['path']['visualization'], name if model.is_train else dataset.opt['name'])
    os.makedirs(folder, exist_ok=True)
    suffix = current_iter if model.is_train else model.opt['val'].get('suffix') or model.opt['name']
    stem = os.path.join(folder, f'{name}_{suffix}')
    values = cube.cpu().numpy()
    if save_img:
        written = cv2.imwrite(f'{stem}.png', np.ascontiguousarray(false_colour(values, wavelengths)[..., ::-1]))
        if not written:
            raise OSError(f'Cannot write {stem}.png; check the free space and the rights of its folder.')
    if form == 'npy':
        np.save(f'{stem}.npy', values)
    elif form == 'mat':
        extra = {} if wavelengths is None else {'wavelength': np.asarray(wavelengths)}
        savemat(f'{stem}.mat', {'hsi': values, **extra}, do_compression=True)


def _raise_in_all(failure: Exception | None, world_size: int) -> None:
    """Raise what one process met in all of them."""
    text = None if failure is None else f'{type(failure).__name__}: {failure}'
    failures: list[Any] = [text] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(failures, text)
    if failure is not None:
        raise failure
    others = [text for text in failures if text is not None]
    if others:
        raise RunError(f'Another process could not validate its images ({others[0]}).')


def _gather(rows: list[Any], pictures: dict[str, Any], world_size: int) -> tuple[list[Any], dict[str, Any]]:
    """Bring what the processes have to all of them, in the order of the images."""
    if world_size == 1:
        return rows, pictures
    shares: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(shares, (rows, pictures))
    rows = sorted((row for share in shares for row in share[0]), key=lambda row: row['index'])
    return rows, {name: picture for share in shares for name, picture in share[1].items()}


def _report(
    model: Any,
    dataset: Any,
    metrics: ValidationMetrics,
    current_iter: int | str,
    tb_logger: Any,
    rows: list[Any],
    pictures: dict[str, Any],
) -> None:
    """Log the values of every image and their means, keep the best, feed TensorBoard, write the CSV file."""
    dataset_name = dataset.opt['name']
    names = [key for key in rows[0] if key not in ('index', 'image', 'seconds')]
    logger = get_root_logger()
    protocol = '; '.join([_protocol(model, dataset), *metrics.describe()])
    for row in rows:
        values = ', '.join(f'{name} {row[name]:.4f}' for name in names)
        logger.info(f'{dataset_name}/{row["image"]}: {values or "no metrics"} ({row["seconds"]:.1f} s)')
    _write_csv(model, dataset_name, protocol, current_iter, rows)
    for name, picture in pictures.items():
        tb_logger.add_image(f'{dataset_name}/{name}', picture, current_iter, dataformats='HWC')
    if metrics.left_out:
        left_out = ', '.join(f'{name} (needs {needs})' for name, needs in metrics.left_out.items())
        logger.info(f'{dataset_name}: left out {left_out}.')
    if not names:
        logger.info(f'{dataset_name}: {len(rows)} images done; without metrics there are no values.')
        return
    model.metric_results = {name: float(np.mean([row[name] for row in rows])) for name in names}
    _keep_best(model, dataset_name, metrics, current_iter)
    logger.info(f'Means over {len(rows)} images of {protocol}')
    model._log_validation_metric_values(current_iter, dataset_name, tb_logger)


def _protocol(model: Any, dataset: Any) -> str:
    """Say in one line what the values are measured on."""
    options = model.opt['val']
    parts = [dataset.describe() if hasattr(dataset, 'describe') else dataset.opt['name']]
    if options.get('crop_size'):
        parts.append('central {0}x{0} crops'.format(options['crop_size']))
    if options.get('bands'):
        parts.append(f'bands {chosen_bands(options["bands"], dataset.num_bands)}')
    if options.get('max_images'):
        parts.append(f'first {options["max_images"]} images')
    if options.get('tile_size'):
        halo = DEFAULT_HALO if options.get('tile_halo') is None else options['tile_halo']
        parts.append(f'tiles of {options["tile_size"]} pixels, halo {halo}')
    if options.get('precision') not in (None, 'fp32'):
        parts.append(f'computed in {options["precision"]}')
    return '; '.join(parts)


def _keep_best(model: Any, dataset_name: str, metrics: ValidationMetrics, current_iter: int | str) -> None:
    """Update BasicSR's record of best values; a metric of the small-scale image is judged like its namesake."""
    if not hasattr(model, 'best_metric_results'):
        model.best_metric_results = {}
    record = model.best_metric_results.setdefault(dataset_name, {})
    for name, value in model.metric_results.items():
        better = better_direction(metrics.chosen.get(name) or metrics.chosen[name.rsplit('_x', 1)[0]])
        worst = float('-inf') if better == 'higher' else float('inf')
        record.setdefault(name, {'better': better, 'val': worst, 'iter': -1})
        model._update_best_metric_result(dataset_name, name, value, current_iter)


def _write_csv(model: Any, dataset_name: str, protocol: str, current_iter: int | str, rows: list[Any]) -> None:
    """Append the rows to the experiment's table; the protocol stands above them."""
    path = os.path.join(model.opt['path']['log'], f'metrics_{dataset_name}.csv')
    columns = ['iter', 'image', *(key for key in rows[0] if key not in ('index', 'image'))]
    head = csv_text(columns, [], [protocol])
    if os.path.exists(path) and not _starts_with(path, head):  # other metrics or protocol than before the resume
        os.replace(path, f'{path[:-4]}_archived_{get_time_str()}.csv')
    text = csv_text(columns, ({'iter': current_iter, **row} for row in rows), [protocol])
    with open(path, 'a', newline='', encoding='utf-8') as file:
        file.write(text if file.tell() == 0 else text[len(head) :])


def _starts_with(path: str, head: str) -> bool:
    with open(path, encoding='utf-8', newline='') as file:
        return file.read(len(head)) == head
