"""The file of a report: everything in one HTML document that asks for nothing else.

Whatever comes from the data stands in JSON or behind it as bytes, never as markup: the JSON has no ``<``, the bytes
have none either, the scripts set texts alone, and the document's own policy lets only the scripts of this package run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import platform
import shutil
from collections.abc import Callable
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import cv2
import numpy as np
import torch

from mulsr_plugin import __version__
from mulsr_plugin.apps.benchmark.drawing import band_psnr
from mulsr_plugin.apps.report.measures import angle_map, common_top
from mulsr_plugin.apps.report.scenes import Crop, LoadedScene, Report, ReportScene
from mulsr_plugin.apps.report.storing import LEVELS, RATIO, common_basis, store_cube, store_map
from mulsr_plugin.data.false_colour import channel_bands, error_map, false_colour, stretch_limits
from mulsr_plugin.utils.files import replacing

ENCODING = 'windows-1252'  # each byte is a character
_STYLES = ('uPlot.min.css', 'style.css')
_SCRIPTS = ('uPlot.iife.min.js', 'workers.js', 'pictures.js', 'plots.js', 'table.js', 'viewer.js')
_WORKER = 'decoding.js'
SHARE_OF_ERROR = 0.1
"""Largest error of storing, of the smallest root mean square error of a method in the scene."""
_SHARE_OF_RANGE = 1e-3  # and of the largest value; without a reference, this alone
_SMALLEST_SHARE_OF_RANGE = 1e-5  # for methods that equal the reference

_PREVIEW_SIDE = 192  # pixels of the pictures that are seen until a cube is unpacked

Progress = Callable[[int, int], None]


def write_report(report: Report, path: Path, crop: Crop, command: str, progress: Progress | None = None) -> None:
    """Write a report, whole or not at all.

    Args:
        report: What to show.
        path: HTML file to write; one that exists is replaced.
        crop: Which part of every scene is shown.
        command: That made the report, to be shown.
        progress: Called with the number of scenes written and that of all. Default: None.

    Raises:
        OSError: The file cannot be written.
        ValueError: Cubes are damaged or do not belong together.
    """
    scripts = [_ascii(_read(name)) for name in _SCRIPTS]
    styles = [_ascii(_read(name)) for name in _STYLES]
    head, _, tail = _read('template.html').partition('<!-- SCRIPTS -->')
    policy = (
        f"default-src 'none'; img-src data: blob:; worker-src blob:; style-src {_hashes(styles)}; "
        f'script-src {_hashes(scripts)}'
    )
    head = head.replace('<!-- POLICY -->', f'<meta http-equiv="Content-Security-Policy" content="{policy}">')
    head = head.replace('<!-- STYLES -->', ''.join(f'<style>{style}</style>' for style in styles))
    head = head.replace('<!-- TITLE -->', html.escape(report.title))  # last: it may hold any text
    with replacing(path) as file, TemporaryFile(dir=path.parent) as data:
        scenes = _write_scenes(report, crop, data, progress)
        data.seek(0)
        file.write(head.encode('ascii', 'xmlcharrefreplace'))
        file.write(_script(_json(_content(report, scenes, command)), ' type="application/json" id="content"'))
        file.write(_script(_ascii(_read(_WORKER)), ' type="text/plain" id="decoding"'))
        file.write(b''.join(map(_script, scripts)))
        before, _, after = tail.partition('<!-- DATA -->')
        file.write(before.encode())
        shutil.copyfileobj(data, file)  # last, so that the page can be used while the browser reads on
        file.write(after.encode())


def _write_scenes(report: Report, crop: Crop, file: IO[bytes], progress: Progress | None) -> list[dict[str, Any]]:
    """Write the cubes and maps of one scene after the other; return what must be known to read them."""
    scenes = []
    for number, scene in enumerate(report.scenes):
        loaded = scene.load(crop)
        report.rows += loaded.rows
        report.facts += loaded.facts
        scenes.append(_write_scene(scene, loaded, number, report.methods, file))
        if progress is not None:
            progress(number + 1, len(report.scenes))
    return scenes


def _write_scene(
    scene: ReportScene, loaded: LoadedScene, number: int, methods: list[str], file: IO[bytes]
) -> dict[str, Any]:
    truth = loaded.reference
    cubes = {label: loaded.cubes[label] for label in methods if label in loaded.cubes}
    everything = [*([] if truth is None else [truth]), *cubes.values()]
    guiding, bands = everything[0], everything[0].shape[2]
    basis, limits = common_basis(everything), stretch_limits(guiding, loaded.wavelengths)
    errors = [] if truth is None else [error_map(cube, truth) for cube in cubes.values()]
    rmse = [float(np.sqrt(np.mean(np.square(error, dtype=np.float64)))) for error in errors]
    tolerance = _tolerance(everything, rmse)
    stored = []
    for index, cube in enumerate(everything):
        result = store_cube(cube, basis, tolerance)
        _write_bytes(file, f'cube-{number}-{index}', result.data)
        picture = _preview(false_colour(cube, loaded.wavelengths, limits))
        about = {'step': result.step, 'rms': result.rms_error, 'largest': result.largest_error, 'preview': picture}
        stored.append({'label': '', 'reference': True, **about})
    for about, (label, cube) in zip(stored[len(everything) - len(cubes) :], cubes.items()):
        psnr = {} if truth is None else {'psnr': _numbers(band_psnr(cube, truth))}
        about.update(label=label, reference=False, **psnr)
    return {
        'name': scene.name,
        'dataset': scene.dataset,
        'size': list(guiding.shape[:2]),
        'area': loaded.area,
        'origin': loaded.origin,
        'wavelengths': None if loaded.wavelengths is None else _numbers(loaded.wavelengths),
        'response': None if loaded.response is None else [_numbers(row) for row in loaded.response],
        'basis': [_numbers(row) for row in basis],
        'channels': [chosen.tolist() for chosen in channel_bands(bands, loaded.wavelengths)],
        'limits': [_numbers(row) for row in limits],
        'bandLimits': [_numbers(row) for row in np.percentile(guiding.reshape(-1, bands), (0.5, 99.5), axis=0).T],
        'tolerance': tolerance,
        'smallestError': min(rmse, default=None),
        'cubes': stored,
        'maps': {} if truth is None else _write_maps(number, errors, list(cubes.values()), truth, file),
    }


def _write_maps(
    number: int, errors: list[np.ndarray], cubes: list[np.ndarray], truth: np.ndarray, file: IO[bytes]
) -> dict[str, dict[str, float]]:
    """Write the maps of errors and angles of a scene; return what must be known to read them."""
    about = {}
    for kind, images in (('error', errors), ('angle', [angle_map(cube, truth) for cube in cubes])):
        largest, top = common_top(images)
        maps = [store_map(image, largest) for image in images]
        about[kind] = {'smallest': maps[0].smallest, 'largest': largest, 'top': top}
        for index, stored in enumerate(maps, 1):
            _write_bytes(file, f'{kind}-{number}-{index}', stored.data)
    return about


def _tolerance(cubes: list[np.ndarray], rmse: list[float]) -> float:
    largest = max(float(np.abs(cube).max()) for cube in cubes) or 1.0
    wanted = min([_SHARE_OF_RANGE * largest, *(SHARE_OF_ERROR * error for error in rmse)])
    return max(wanted, _SMALLEST_SHARE_OF_RANGE * largest)


def _preview(picture: np.ndarray) -> str:
    """Return a small JPEG of a picture (H, W, 3) as base64."""
    factor = min(1.0, _PREVIEW_SIDE / max(picture.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode('.jpg', small[..., ::-1])[1].tobytes()).decode()


def _content(report: Report, scenes: list[dict[str, Any]], command: str) -> dict[str, Any]:
    colours = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    versions = f'mulsr-plugin {__version__}, PyTorch {torch.__version__}, NumPy {np.__version__}, '
    facts = [
        *report.facts,
        ('Report made', datetime.now().strftime('%Y-%m-%d %H:%M')),
        ('Command', command),
        ('Versions', f'{versions}Python {platform.python_version()}'),
    ]
    return {
        'title': report.title,
        'scenes': scenes,
        'methods': report.methods,
        'metrics': [{'key': m.key, 'title': m.title, 'higher': m.higher_is_better} for m in report.metrics],
        'rows': [{key: _finite(value) for key, value in row.items()} for row in report.rows],
        'facts': facts,
        'colours': colours.tolist(),
        'levels': LEVELS,
        'ratio': RATIO,
    }


def _write_bytes(file: IO[bytes], name: str, data: bytes) -> None:
    """Write bytes as a script of no known type: one character each, but for those that a parser would change."""
    for byte in (b'=', b'\0', b'\r', b'<'):
        data = data.replace(byte, b'=' + bytes([byte[0] + 64]))
    file.write(f'<script type="application/octet-stream" id="{name}">'.encode() + data + b'</script>\n')


def _script(text: str, attributes: str = '') -> bytes:
    return f'<script{attributes}>{text}</script>'.encode()


def _json(content: Any) -> str:
    """Return JSON that holds neither the end of a script nor markup."""
    text = json.dumps(content, allow_nan=False, separators=(',', ':'))
    return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026')


def _numbers(values: Any) -> list[float | None]:
    return [float(f'{value:.7g}') if np.isfinite(value) else None for value in values]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _hashes(texts: list[str]) -> str:
    return ' '.join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts)


def _ascii(text: str) -> str:
    return text.encode('ascii', 'backslashreplace').decode()


def _read(name: str) -> str:
    return (files('mulsr_plugin.apps.report') / 'web' / name).read_text(encoding='utf-8').replace('\r\n', '\n')
