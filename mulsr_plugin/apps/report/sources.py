"""Where a report gets its cubes from: a benchmark, tests, or files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset

from mulsr_plugin.apps.benchmark.figures import read_results
from mulsr_plugin.apps.benchmark.options import METRICS
from mulsr_plugin.apps.report.scenes import Crop, LoadedScene, Metric, Report, ReportScene, cut_scene
from mulsr_plugin.apps.result_tables import read_rows
from mulsr_plugin.data.cube import Cube, scaled_to_unit
from mulsr_plugin.data.formats import read_cube
from mulsr_plugin.data.spectral_response import load_spectral_response
from mulsr_plugin.models.measurement import better_direction, compute_metrics
from mulsr_plugin.models.validation import central_crop
from mulsr_plugin.utils.options import read_option_file

_TITLES = {'psnr': 'PSNR', 'ssim': 'SSIM', 'sam': 'SAM', 'rmse': 'RMSE', 'ergas': 'ERGAS'}
_COSTS = [
    Metric('parameters', 'Parameters', False),
    Metric('gflops', 'GFLOPs', False),
    Metric('seconds', 'Seconds', False),
    Metric('memory_mib', 'Peak MiB', False),
]
_LOWER = ('sam', 'rmse', 'ergas', 'd_lambda', 'd_s', 'seconds', 'spectral_consistency', 'spatial_consistency')
_MEASURED_ON_FILES = ('psnr', 'ssim', 'sam', 'rmse')
_REFERENCE = 'the reference'
_SSIM_WINDOW = 11  # pixels; smaller scenes have no SSIM


def report_of_benchmark(folder: Path) -> Report:
    """Report on ``results/NAME`` of a benchmark that has saved its cubes.

    Raises:
        FileNotFoundError: The folder holds no benchmark, or no cubes.
        ValueError: Its results are damaged.
    """
    content = read_results(folder)
    entries = content['entries']
    opened = {name: cache(partial(_open, data)) for name, data in content['datasets'].items()}
    scenes = [
        ReportScene(image, name, partial(_load_of_benchmark, folder, content, name, image, opened[name]))
        for name, data in content['datasets'].items()
        for image in data['images']
        if any(_benchmark_cube(folder, name, entry, image).is_file() for entry in entries)
    ]
    if not scenes:
        raise FileNotFoundError(
            f'{folder} holds no cubes; write save_cubes: true in the option file of the benchmark and run it again.'
        )
    metrics = [
        Metric(key, _TITLES.get(key, key), better_direction(options) == 'higher')
        for key, options in content['metrics'].items()
    ]
    rows = [
        {**row, 'scene': row['image'], 'method': row['entry']} for row in content['rows'] if row['entry'] in entries
    ]
    environment = content.get('settings', {}).get('environment', {})
    facts = [(f'Protocol of {name}', data.get('protocol', '')) for name, data in content['datasets'].items()]
    facts += [('Measured', _date_of(folder / 'results.json'))]
    facts += [('Measured on', ', '.join(f'{key} {value}' for key, value in environment.items()))] * bool(environment)
    facts += [('Failed', sentence) for sentence in content.get('failures', [])]
    return Report(f'{content["name"]}, x{content["scale"]}', scenes, entries, [*metrics, *_COSTS], rows, facts)


def report_of_tests(option_file: Path, folders: Mapping[str, str]) -> Report:
    """Report on tests of one option file's data sets that have saved their cubes (``save_cube: npy`` or ``mat``).

    Args:
        option_file: Option file of one of the tests, for its data sets.
        folders: ``results/NAME`` of each test, by the label to give it.

    Raises:
        FileNotFoundError: A test has no cubes.
        ValueError: The option file is wrong.
    """
    opt = read_option_file(option_file, 'datasets', 'scale')
    report = Report(f'{opt.get("name", option_file.stem)}, x{opt["scale"]}', [], list(folders))
    for phase, block in sorted(opt['datasets'].items()):
        if phase.split('_')[0] == 'train':
            continue
        dataset = build_dataset({**block, 'phase': phase.split('_')[0], 'scale': opt['scale']})
        for key in dataset.keys:
            paths = {label: _test_cube(Path(folder), dataset, key) for label, folder in folders.items()}
            found = {label: path for label, path in paths.items() if path is not None}
            if found:
                load = partial(_load_of_dataset, dataset, key, found, None, opt['scale'])
                report.scenes.append(ReportScene(key, block['name'], load))
        _add_tables(report, block['name'], folders)
    if not report.scenes:
        names = ', '.join(folders.values())
        raise FileNotFoundError(f'{names}: no cubes of these data sets; run the test with "save_cube: npy" in val.')
    return report


def report_of_files(
    files: Mapping[str, Path],
    reference: Path | None = None,
    options: Mapping[str, Any] | None = None,
    spectral_response: str | None = None,
) -> Report:
    """Report on cubes of any format: results of one scene by label, with or without reference.

    Args:
        files: Cubes by label.
        reference: Cube of the same size. Default: None.
        options: Arguments of ``read_cube`` for all of them. Default: none.
        spectral_response: Response of the guide, see ``load_spectral_response``. Default: None, unknown.
    """
    report = Report(', '.join(files), [], list(files))
    named = next(iter(files.values())) if reference is None else reference
    load = partial(_load_of_files, files, reference, dict(options or {}), spectral_response, named.stem)
    report.scenes.append(ReportScene(named.stem, '', load))
    report.facts += [(f'File of {label}', str(path)) for label, path in files.items()]
    if reference is not None:
        report.facts.append((f'File of {_REFERENCE}', str(reference)))
        report.metrics = [Metric(key, _TITLES[key], METRICS[key]['better'] == 'higher') for key in _MEASURED_ON_FILES]
    return report


def _load_of_benchmark(
    folder: Path, content: Mapping[str, Any], name: str, image: str, dataset: Callable[[], Any], crop: Crop
) -> LoadedScene:
    paths = {entry: _benchmark_cube(folder, name, entry, image) for entry in content['entries']}
    found = {entry: path for entry, path in paths.items() if path.is_file()}
    return _load_of_dataset(dataset(), image, found, content.get('crop_size'), content['scale'], crop)


def _load_of_dataset(
    dataset: Any, key: str, paths: Mapping[str, Path], crop_size: int | None, scale: int, crop: Crop
) -> LoadedScene:
    """Load the saved cubes of a scene of a data set beside its reference."""
    if key not in dataset.keys:
        raise FileNotFoundError(f'The data set has no scene {key} any more; bring it back or test anew.')
    sample = central_crop(dataset[list(dataset.keys).index(key)], crop_size, scale)
    cubes = {label: _saved_cube(path) for label, path in paths.items()}
    reference = sample['gt'].permute(1, 2, 0).numpy() if 'gt' in sample else None
    wavelengths, response = getattr(dataset, 'wavelengths', None), getattr(dataset, 'response', None)
    return cut_scene(key, cubes, reference, crop, wavelengths, response)


def _load_of_files(
    files: Mapping[str, Path],
    reference: Path | None,
    options: Mapping[str, Any],
    spectral_response: str | None,
    name: str,
    crop: Crop,
) -> LoadedScene:
    paths = {**files, **({} if reference is None else {_REFERENCE: reference})}
    read = {label: read_cube(path, is_guide=True, **options) for label, path in paths.items()}
    wavelengths = next((cube.wavelengths for cube in read.values() if cube.wavelengths is not None), None)
    response = None
    if spectral_response is not None:
        response = load_spectral_response(spectral_response, next(iter(read.values())).num_bands, wavelengths)
    cubes = {label: _unit(cube) for label, cube in read.items()}
    truth = cubes.pop(_REFERENCE, None)
    scene = cut_scene(name, cubes, truth, crop, wavelengths, response)
    facts = [(f'Reading of {label}', note) for label, cube in read.items() for note in cube.notes]
    if scene.reference is None:
        return replace(scene, facts=facts)
    where = scene.area or 'the whole scene'
    facts.append(('Metrics', f'measured on {where}, values clamped to [0, 1], peak 1, SAM in degrees'))
    rows = [
        {'scene': name, 'dataset': '', 'method': label, **_measured(cube, scene.reference)}
        for label, cube in scene.cubes.items()
    ]
    return replace(scene, facts=facts, rows=rows)


def _add_tables(report: Report, dataset: str, folders: Mapping[str, str]) -> None:
    """Add the metrics that the tests have measured on a data set."""
    for label, folder in folders.items():
        path = Path(folder) / f'metrics_{dataset}.csv'
        if not path.is_file():
            continue
        protocol, rows = read_rows(path)
        known = {metric.key for metric in report.metrics}
        report.metrics += [
            Metric(key, _TITLES.get(key, key), key.split('_x')[0] not in _LOWER)
            for key in rows[0]
            if key not in ('iter', 'image') and key not in known
        ]
        report.rows += [
            {
                **{key: float(value) for key, value in row.items() if key not in ('iter', 'image') and value},
                'scene': row['image'],
                'dataset': dataset,
                'method': label,
            }
            for row in rows
        ]
        report.facts.append((f'{label} on {dataset}', f'{protocol}; measured {_date_of(path)}'))


def _benchmark_cube(folder: Path, dataset: str, entry: str, image: str) -> Path:
    return folder / 'cubes' / dataset / entry / f'{image}.npy'


def _test_cube(folder: Path, dataset: Any, key: str) -> Path | None:
    """Find the cube that a test has saved for a scene; a scene's name may begin another's."""
    others = tuple(f'{other}_' for other in dataset.keys if other.startswith(f'{key}_'))
    place = folder / 'visualization' / dataset.opt['name']
    found = sorted(path for path in place.glob(f'{key}_*') if path.suffix in ('.npy', '.mat'))
    return next((path for path in found if not path.name.startswith(others)), None)


def _saved_cube(path: Path) -> np.ndarray:
    """Open a cube that a benchmark or a test has saved, in [0, 1]; of .npy files only what is used is read.

    Raises:
        ValueError: The file is damaged.
    """
    if path.suffix != '.npy':
        return _unit(read_cube(path, axes='hwb'))
    try:
        return np.load(path, mmap_mode='r', allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f'{path} is damaged ({error}); run the benchmark or the test again.') from error


def _unit(cube: Cube) -> np.ndarray:
    return scaled_to_unit(cube.values, cube.scale)


def _measured(cube: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    chosen = {key: METRICS[key] for key in _MEASURED_ON_FILES}
    if min(cube.shape[:2]) < _SSIM_WINDOW:
        del chosen['ssim']
    img, img2 = (torch.from_numpy(np.clip(values, 0, 1)) for values in (cube, reference))
    return compute_metrics(chosen, img, img2, scale=1)


def _open(data: Mapping[str, Any]) -> Any:
    return build_dataset(deepcopy(dict(data['options'])))


def _date_of(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime).strftime('%Y-%m-%d %H:%M')
