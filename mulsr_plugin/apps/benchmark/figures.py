"""The figures of a benchmark, drawn from what it has written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.data import build_dataset
from basicsr.utils import get_root_logger

from mulsr_plugin.apps.benchmark.drawing import (
    EntryCost,
    band_psnr,
    band_psnr_figure,
    cost_figure,
    result_figure,
    save_figure,
    spectra_figure,
)
from mulsr_plugin.apps.benchmark.places import Area, Pixel
from mulsr_plugin.models.validation import central_crop

_SHOWN_IMAGES = 2
_COSTS = {'gflops': ('flops', 'GFLOPs per scene'), 'seconds': ('seconds', 'Seconds per scene')}


def write_benchmark_figures(
    folder: str | Path,
    images: Sequence[str] | None = None,
    entries: Sequence[str] | None = None,
    pixels: Sequence[Pixel] | None = None,
    area: Area | None = None,
) -> list[Path]:
    """Draw the figures of a benchmark into ``figures/<data set>/`` of its folder, each as PNG and PDF.

    Per image ``<image>_results`` and ``<image>_spectra``; per data set ``psnr_per_band`` (mean over images) and
    ``psnr_against_flops``, ``psnr_against_seconds``. Those of images and bands need the cubes (``save_cubes`` in the
    option file of the benchmark). Entries without a result for every image are left out of the figures of a data set.

    Args:
        folder: ``results/<name>`` of the benchmark.
        images: Scenes to show. Default: the first two of every data set.
        entries: Entries to show. Default: all.
        pixels: (row, column) of the spectra. Default: chosen for every image.
        area: Top, left, height and width of the enlarged area. Default: chosen for every image.

    Returns:
        The files written.

    Raises:
        ImportError: Matplotlib is missing.
        FileNotFoundError: The folder holds no benchmark, or its data set is gone.
        ValueError: An image or an entry is unknown, or a pixel or the area is outside a scene.
    """
    folder = Path(folder)
    content = read_results(folder)
    entries = _chosen(entries, content['entries'], 'entry', folder)
    known = [image for data in content['datasets'].values() for image in data['images']]
    images = None if images is None else _chosen(images, known, 'image', folder)
    files = []
    for name, data in content['datasets'].items():
        shown = data['images'][:_SHOWN_IMAGES] if images is None else [i for i in data['images'] if i in images]
        figures = _Figures(folder, content, name, entries)
        files += figures.write_costs() + figures.write_cubes(shown, pixels, area)
    return files


def read_results(folder: Path) -> dict[str, Any]:
    """Read ``results.json`` of a benchmark.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not such a file.
    """
    path = folder / 'results.json'
    if not path.is_file():
        raise FileNotFoundError(f'{folder} holds no results.json; name the folder that `mulsr benchmark` has written.')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        missing = {'entries', 'datasets', 'metrics', 'rows', 'scale'} - set(content)
    except (ValueError, TypeError):
        missing = {'everything'}
    if missing:
        raise ValueError(f'{path} is not a result of `mulsr benchmark` ({", ".join(sorted(missing))} missing); run it.')
    return content


def _chosen(names: Sequence[str] | None, known: Sequence[str], kind: str, folder: Path) -> list[str]:
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f'{folder} has no {kind} {unknown[0]!r}; it has {", ".join(known)}.')
    return [name for name in known if names is None or name in names]


def figures_to_tensorboard(folder: Path, log_dir: Path | None = None) -> int:
    """Write the PNG figures of a benchmark to TensorBoard, one image each under its file name.

    Args:
        folder (Path): Folder of the benchmark, with its ``figures/``.
        log_dir (Path): Folder of the event file. Default: None, ``tb_logger/`` in ``folder``.

    Returns:
        int: Number of figures written.

    Raises:
        ValueError: A file cannot be read.
    """
    from torch.utils.tensorboard import SummaryWriter

    files = sorted((Path(folder) / 'figures').glob('**/*.png'))
    with SummaryWriter(str(log_dir or Path(folder) / 'tb_logger')) as writer:
        for file in files:
            tag = file.relative_to(Path(folder) / 'figures').with_suffix('').as_posix()
            picture = cv2.imread(str(file))
            if picture is None:
                raise ValueError(f'{file} is not a readable picture; remove it, or draw the figures again.')
            writer.add_image(f'figures/{tag}', picture[..., ::-1].copy(), dataformats='HWC')
    return len(files)


class _Figures:
    """What one data set of a benchmark holds, and its figures."""

    def __init__(self, folder: Path, content: Mapping[str, Any], name: str, entries: Sequence[str]) -> None:
        self.folder, self.content, self.name = folder, content, name
        self.images: list[str] = content['datasets'][name]['images']
        rows = {(row['entry'], row['image']): row for row in content['rows'] if row['dataset'] == name}
        complete = [entry for entry in entries if all((entry, image) in rows for image in self.images)]
        self.rows = {entry: {image: rows[entry, image] for image in self.images} for entry in complete}
        psnr = [key for key, metric in content['metrics'].items() if 'psnr' in metric['type']]
        self.psnr = psnr[0] if psnr else None
        if len(complete) < len(entries):
            left_out = ', '.join(entry for entry in entries if entry not in complete)
            get_root_logger().warning(
                f'{name}: left out of the figures because some images have no results: {left_out}'
            )

    def write_costs(self) -> list[Path]:
        """Draw quality against each cost that is known."""
        files = []
        for cost, (suffix, label) in _COSTS.items():
            points = {entry: self._point(list(rows.values()), cost) for entry, rows in self.rows.items()}
            known = {entry: point for entry, point in points.items() if point is not None}
            if known:
                files += self._save(cost_figure(known, label, len(self.images)), f'psnr_against_{suffix}')
        return files

    def write_cubes(self, shown: Sequence[str], pixels: Sequence[Pixel] | None, area: Area | None) -> list[Path]:
        """Draw what needs the cubes: results and spectra of the images shown, PSNR per band over all."""
        with_cubes = [e for e in self.rows if all(self._cube_path(e, image).is_file() for image in self.images)]
        if not with_cubes:
            get_root_logger().warning(
                f'{self.name}: no figures of images, since cubes are missing; write save_cubes: true in the option '
                'file of the benchmark and run it again.'
            )
            return []
        dataset = build_dataset(deepcopy(dict(self.content['datasets'][self.name]['options'])))
        wavelengths = getattr(dataset, 'wavelengths', None)
        per_band: dict[str, list[np.ndarray]] = {entry: [] for entry in with_cubes}
        files = []
        for image in self.images:
            gt, lq = self._reference(dataset, image)
            cubes = {entry: np.load(self._cube_path(entry, image)).astype(np.float32) for entry in with_cubes}
            for entry, cube in cubes.items():
                per_band[entry].append(band_psnr(cube, gt))
            if image in shown:
                figure = result_figure(cubes, gt, lq, wavelengths, area, self._captions(image))
                files += self._save(figure, f'{image}_results')
                files += self._save(spectra_figure(cubes, gt, pixels, wavelengths), f'{image}_spectra')
        means = {entry: np.mean(values, axis=0) for entry, values in per_band.items()}
        return files + self._save(band_psnr_figure(means, wavelengths, len(self.images)), 'psnr_per_band')

    def _point(self, rows: Sequence[Mapping[str, Any]], cost: str) -> EntryCost | None:
        """Return the mean PSNR and mean cost of an entry; None if either is unknown."""
        if self.psnr is None or any(row.get(cost) is None for row in rows):
            return None
        quality = float(np.mean([row[self.psnr] for row in rows]))
        if not np.isfinite(quality):
            return None
        return EntryCost(quality, float(np.mean([row[cost] for row in rows])), int(rows[0].get('parameters') or 0))

    def _captions(self, image: str) -> dict[str, str]:
        if self.psnr is None:
            return {}
        return {entry: f'{rows[image][self.psnr]:.2f} dB' for entry, rows in self.rows.items()}

    def _reference(self, dataset: Any, image: str) -> tuple[np.ndarray, np.ndarray]:
        """Return ground truth and input, (H, W, L), as the benchmark has cut them."""
        if image not in dataset.keys:
            raise FileNotFoundError(
                f'{self.name} has no image {image} any more; bring it back or run the benchmark anew.'
            )
        sample = dataset[list(dataset.keys).index(image)]
        sample = central_crop(sample, self.content.get('crop_size'), self.content['scale'])
        return sample['gt'].permute(1, 2, 0).numpy(), sample['lq'].permute(1, 2, 0).numpy()

    def _cube_path(self, entry: str, image: str) -> Path:
        return self.folder / 'cubes' / self.name / entry / f'{image}.npy'

    def _save(self, figure: Any, name: str) -> list[Path]:
        return save_figure(figure, self.folder / 'figures' / self.name / name)
