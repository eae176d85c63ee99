"""From the files of a cube and its guide image to the file of the super-resolved cube."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.utils import get_root_logger

from mulsr_plugin.apps.evaluation import read_reference, with_quality
from mulsr_plugin.apps.super_resolution import (
    InferenceReport,
    InferenceSettings,
    SuperResolution,
    named_weights,
    prepare_super_resolution,
    scale_of_images,
    unit_values,
)
from mulsr_plugin.data.cube import Cube, CubeForm
from mulsr_plugin.data.false_colour import composite, input_result_panel
from mulsr_plugin.data.formats import (
    ROW_FILES,
    WRITERS,
    files_read,
    files_written,
    read_cube,
    refuse_shadowed,
    write_cube,
)
from mulsr_plugin.data.formats.by_rows import RowFile
from mulsr_plugin.data.formats.common import size_text
from mulsr_plugin.data.formats.resumable import ResumableFile
from mulsr_plugin.data.sources.pair import PairFiles
from mulsr_plugin.models.inference import Progress
from mulsr_plugin.utils.files import partial_folder, whole_files
from mulsr_plugin.utils.memory import free_host_memory


@dataclass(frozen=True)
class CubeFile:
    """A cube alone, for networks that take no guide image.

    Attributes:
        cube (Path): Low-resolution cube.
        cube_options (Mapping): Arguments of ``read_cube``. Default: none.
    """

    cube: Path
    cube_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class InferenceJob(InferenceSettings):
    """What to super-resolve and how: the settings, and these files.

    Attributes:
        images (PairFiles | CubeFile): The cube and its guide image, and how they are read; the cube alone for a network
            that takes no guide image.
        output (Path): File to write; its name sets the format, see :mod:`mulsr_plugin.data.formats`.
        force (bool): Replace an existing output. Default: False.
        reference (Path | None): Cube that the written result is measured against. Default: None.
        reference_options (Mapping): Arguments of ``read_cube`` for it. Default: none.
    """

    images: PairFiles | CubeFile
    output: Path
    force: bool = False
    reference: Path | None = None
    reference_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def preview(self) -> Path:
        """The false-colour picture written beside the output."""
        return self.output.with_name(f'{self.output.stem}_preview.png')


def infer(job: InferenceJob, progress: Progress | None = None) -> InferenceReport:
    """Super-resolve the cube of a job and write the result in the units of the cube, with a false-colour preview.

    What may take long begins only after everything that can be checked beforehand has been. NumPy, ENVI and TIFF files
    are written strip by strip, so that the result need not fit into the memory; a run that is stopped keeps the strips
    that are done in the folder ``.<name>.partial`` beside the output, from where the same job goes on.

    Args:
        job (InferenceJob): What to do.
        progress (Callable | None): See :func:`mulsr_plugin.models.inference.apply_network`. Default: None.

    Returns:
        InferenceReport: What was found out on the way, which the log reports too.

    Raises:
        FileNotFoundError: An input does not exist.
        FileExistsError: The output exists and `force` is off.
        ImportError: The library for a format is not installed.
        ValueError: An input is damaged, or images and network do not fit each other.
        MemoryError: Not even a tile fits into the memory.
        OSError: The output cannot be written; nothing is left behind then.
    """
    job = replace(job, output=job.output.expanduser())
    _check_output(job)
    cube, guide = _load(job)
    weights = named_weights(job)
    scale = scale_of_images(cube, guide, job, weights)
    _check_space(job.output, cube, scale)
    reference = None if job.reference is None else read_reference(job.reference, job.reference_options, cube, scale)
    row_file = ROW_FILES.get(job.output.suffix.lower())
    if row_file is None:
        _check_memory(job.output, cube, scale)
    work = prepare_super_resolution(cube, guide, scale, job, weights, by_rows=row_file is not None)
    write = _write_whole if row_file is None else partial(_write_by_rows, row_file)
    report, channels = write(job, work, _form_of_result(cube, guide, scale, work.shape), progress)
    panel = input_result_panel(channels, unit_values(cube), cube.wavelengths)
    with whole_files(job.preview, job.force) as temporary:
        if not cv2.imwrite(str(temporary), panel[..., ::-1]):
            raise OSError(f'{job.preview} cannot be written: check the space and the permissions of its folder.')
    get_root_logger().info(f'Written: {job.output} and {job.preview}.')
    return report if reference is None else with_quality(report, job.output, reference)


def _load(job: InferenceJob) -> tuple[Cube, Cube | None]:
    """Read the cube and, where there is one, the guide image."""
    if isinstance(job.images, PairFiles):
        return job.images.load()[:2]
    return read_cube(job.images.cube, **job.images.cube_options), None


def _check_output(job: InferenceJob) -> None:
    """Refuse what could only fail after the computation."""
    if job.output.name in ('', '..'):
        raise ValueError(f'The output {job.output} is not a name of a file: give one, such as sr.tif.')
    suffix = job.output.suffix.lower()
    if suffix not in WRITERS:
        names = ' '.join(name for name in WRITERS if name)
        raise ValueError(
            f'{job.output}: no writer for {suffix}; choose one of {names}, or no suffix for a folder of PNGs.'
        )
    if WRITERS[suffix].__module__.endswith('.raster_writers') and find_spec('rasterio') is None:
        raise ImportError(
            f"{job.output} needs rasterio to be written: pip install 'mulsr-plugin[formats]', or name a .mat or .npz."
        )
    refuse_shadowed(job.output)
    guides = files_read(job.images.guide) if isinstance(job.images, PairFiles) else ()
    named = (*files_read(job.images.cube), *guides, job.weights, job.sensor, job.reference)
    inputs = {Path(path).resolve() for path in named if path is not None}
    for path in (*files_written(job.output), job.preview):
        if path.resolve() in inputs:
            raise FileExistsError(f'{path} is one of the inputs: name another file to write.')
        if path.exists() and not job.force:
            raise FileExistsError(f'{path} exists: name another file to write, or use force to replace it.')
    folder = _folder_of(job.output)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f'Nothing can be written to {folder} ({error.strerror}): name another place.') from error


def _check_space(output: Path, cube: Cube, scale: int) -> None:
    """Refuse a place that is too small, beside what an earlier run has kept there."""
    folder = _folder_of(output)
    kept = sum(path.stat().st_blocks * 512 for path in partial_folder(output).glob('*') if path.is_file())
    needed, free = cube.values.nbytes * scale**2 - kept, shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f'The result takes {size_text(needed)}, but {folder} has only {size_text(free)} left: free some space or '
            'name another folder.'
        )


def _check_memory(output: Path, cube: Cube, scale: int) -> None:
    """Refuse a result that must be in memory as a whole, and is too large for that."""
    needed, free = 4 * cube.values.size * scale**2 + cube.values.nbytes * scale**2, free_host_memory()
    if needed > free:
        names = ' '.join(ROW_FILES)
        raise MemoryError(
            f'{output} is written from memory as a whole, which takes {size_text(needed)}, but only {size_text(free)} '
            f'are free: name a file of one of {names}, which are written some rows at a time.'
        )


def _folder_of(output: Path) -> Path:
    """Return the nearest folder above an output that exists."""
    return next(parent for parent in output.resolve().parents if parent.exists())


def _form_of_result(cube: Cube, guide: Cube | None, scale: int, shape: tuple[int, int, int]) -> CubeForm:
    """Return what the file of the result says besides its values."""
    geo = cube.geo.refined(scale) if cube.geo is not None else None if guide is None else guide.geo
    dtype = cube.values.dtype if np.issubdtype(cube.values.dtype, np.integer) else np.dtype(np.float32)
    return CubeForm(shape, dtype, cube.scale, cube.wavelengths, geo, cube.bad_bands)


def _write_by_rows(
    row_file: type[RowFile], job: InferenceJob, work: SuperResolution, form: CubeForm, progress: Progress | None
) -> tuple[InferenceReport, np.ndarray]:
    """Compute and write strip by strip, going on where a run that was stopped has ended; return the preview too."""
    targets = files_written(job.output)
    with ResumableFile(row_file(job.output, form), targets, work.rows, work.identity, job.force) as file:
        if file.taken_up:
            get_root_logger().info(f'{file.taken_up} of {len(work.rows)} strips are there from a run that was stopped.')
        elif file.dropped:
            get_root_logger().info('What a stopped run has left is of other images or settings, and thrown away.')
        for number in range(len(work.rows)):
            if number not in file.done:
                file.write(number, work.compute(number, progress))
        preview = _Preview(work, form)
        report = work.report(file.read, file.stored_scale, preview.see)
    return report, preview.channels


def _write_whole(
    job: InferenceJob, work: SuperResolution, form: CubeForm, progress: Progress | None
) -> tuple[InferenceReport, np.ndarray]:
    """Compute all, then write: for formats that know their values only as a whole."""
    values = np.empty(form.shape, form.dtype)
    for number, rows in enumerate(work.rows):
        values[rows] = work.compute(number, progress)
    result = Cube(values, form.scale, form.wavelengths, None, job.output.name, form.geo, form.bad_bands)
    preview = _Preview(work, form)
    report = work.report(lambda number: values[work.rows[number]], form.scale, preview.see)
    write_cube(job.output, result, overwrite=job.force)
    return report, preview.channels


class _Preview:
    """The three channels that the preview shows, gathered from the strips of a result."""

    def __init__(self, work: SuperResolution, form: CubeForm) -> None:
        self._rows, self._wavelengths = work.rows, form.wavelengths
        self.channels = np.empty((*form.shape[:2], 3), np.float32)

    def see(self, number: int, values: np.ndarray) -> None:
        """Take in a strip, float32 in [0, 1]."""
        self.channels[self._rows[number]] = composite(values, self._wavelengths)
