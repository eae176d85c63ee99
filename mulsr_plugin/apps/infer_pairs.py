"""Super-resolution of many pairs by one process or several: each pair once, whatever stops it and whichever is bad."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger

from mulsr_plugin.apps.infer import InferenceJob, infer
from mulsr_plugin.apps.json_reports import plain_report
from mulsr_plugin.apps.pair_records import PairRecord, ResultState, recipe_of, record_path
from mulsr_plugin.apps.super_resolution import InferenceSettings, named_weights
from mulsr_plugin.data.formats import WRITERS, files_read, files_written
from mulsr_plugin.data.sources.pair import PairFiles, check_names
from mulsr_plugin.models.inference import Progress
from mulsr_plugin.utils.locks import OutputLock
from mulsr_plugin.utils.process_share import WHOLE, ProcessShare
from mulsr_plugin.utils.tables import markdown_table, write_csv

CONSISTENCIES = ('spectral consistency (RMSE)', 'spectral consistency (SAM)', 'spatial consistency (RMSE)')
COLUMNS = ('pair', 'result', 'scale', 'method', 'seconds', *CONSISTENCIES, 'error')
# More would hide the sentence that says what is wrong.
_NAMED_AT_MOST = 5


@dataclass(frozen=True, kw_only=True)
class PairsJob:
    """Which pairs to super-resolve, how, and where to.

    Attributes:
        pairs (Sequence[PairFiles]): All pairs, also those of other processes.
        folder (Path): Folder for the results, named after the pairs.
        settings (InferenceSettings): How, the same for all.
        suffix (str | None): Format of the results, such as '.tif'. Default: None, that of each cube where it can be
            written, else '.npz'.
        force (bool): Replace results of other inputs or settings. Default: False.
        share (ProcessShare): Which of the pairs this process takes. Default: all.
    """

    pairs: Sequence[PairFiles]
    folder: Path
    settings: InferenceSettings
    suffix: str | None = None
    force: bool = False
    share: ProcessShare = WHOLE

    @property
    def table(self) -> Path:
        """The CSV file of this process."""
        number, count = self.share.index + 1, self.share.count
        return self.folder / ('pairs.csv' if count == 1 else f'pairs_{number}_of_{count}.csv')

    def job_of(self, pair: PairFiles) -> InferenceJob:
        """Return the job of one pair."""
        chosen = _on_own_gpu(self.settings, self.share)
        settings = {field.name: getattr(chosen, field.name) for field in fields(InferenceSettings)}
        suffix = _suffix_of(pair.cube) if self.suffix is None else self.suffix
        return InferenceJob(images=pair, output=self.folder / f'{pair.key}{suffix}', force=self.force, **settings)


def infer_pairs(job: PairsJob, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Super-resolve the pairs of this process and write a table of them.

    A pair that fails is logged and passed by. One that is finished, with the same inputs and settings, is not computed
    again, and one that was stopped goes on as :func:`mulsr_plugin.apps.infer.infer` does.

    Args:
        job (PairsJob): What to do.
        progress (Callable | None): Called with the number of pairs done, from 0 on, and that of all. Default: None.

    Returns:
        list[dict]: Rows of the table, by :data:`COLUMNS`; 'error' is '' for the pairs that have a result.

    Raises:
        FileNotFoundError: The weights do not exist.
        FileExistsError: Something would be replaced, and nothing was begun: results of other inputs or settings without
            `force`, or an input.
        ValueError: Pairs have the same name, or the weights are damaged.
        OSError: The folder cannot be written.
    """
    job = replace(job, folder=job.folder.expanduser())
    check_names(job.pairs)
    named_weights(job.settings)  # bad ones would fail every pair
    jobs = [job.job_of(pair) for pair in job.pairs]
    _check_inputs_stay(jobs)
    _check_results(jobs, job.settings, job.force)
    own = job.share.of(jobs)
    show = progress or (lambda done, total: None)
    show(0, len(own))
    rows = []
    for pair_job in own:
        rows.append(_row_of(pair_job, job.settings))
        show(len(rows), len(own))
    write_csv(job.table, COLUMNS, rows)
    return rows


def summary_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of :func:`infer_pairs` as a table for people, and the errors below it.

    Args:
        rows (Sequence[Mapping]): The rows.

    Example:
        >>> from mulsr_plugin.apps.infer_pairs import summary_of
        >>> row = {'pair': 'town', 'scale': 4, 'method': 'GSA', 'seconds': 1.25, 'spectral consistency (RMSE)': 0.0021}
        >>> print(summary_of([row, {'pair': 'wood', 'error': 'There is no file wood.tif.'}]))
        | pair | scale | method | seconds | spectral consistency (RMSE) |
        | ---- | ----- | ------ | ------- | --------------------------- |
        | town | 4     | GSA    | 1.2     | 0.0021                      |
        | wood |       | failed |         |                             |
        wood: There is no file wood.tif.
        1 of 2 pairs failed.
    """
    figure = CONSISTENCIES[0]
    failed = [row for row in rows if row.get('error')]
    cells = [
        [
            str(row['pair']),
            str(row.get('scale', '')),
            'failed' if row.get('error') else str(row['method']),
            f'{row["seconds"]:.1f}' if 'seconds' in row else '',
            f'{row[figure]:.4g}' if figure in row else '',
        ]
        for row in rows
    ]
    lines = [markdown_table(['pair', 'scale', 'method', 'seconds', figure], cells)]
    lines += [f'{row["pair"]}: {row["error"]}' for row in failed]
    return '\n'.join([*lines, f'{len(failed)} of {len(rows)} pairs failed.'])


def _row_of(job: InferenceJob, settings: InferenceSettings) -> dict[str, Any]:
    """Return the row of a pair, after computing it unless that was done before."""
    assert isinstance(job.images, PairFiles)
    name = job.images.key
    try:
        with _named_in_log(name):
            return _computed_once(job, name, recipe_of(job.images, settings))
    except (ImportError, ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        sentence = ' '.join(str(error).split())
    except Exception as error:
        # one that nobody has foreseen: the other pairs are not lost for it, nor is where it comes from
        get_root_logger().exception(f'{name}: an error of the program.')
        sentence = f'{type(error).__name__}: {" ".join(str(error).split())}; the log says where.'
    get_root_logger().error(f'{name}: {sentence}')
    return {'pair': name, 'error': sentence}


def _computed_once(job: InferenceJob, name: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Compute a pair unless it is finished, while no other process does."""
    path = record_path(job.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = OutputLock(path)
    try:
        record = PairRecord(job.output, recipe)
        if record.state is ResultState.FINISHED:
            return record.row
        if record.state is ResultState.OTHER and not job.force:
            raise FileExistsError(f'{job.output} exists and is left as it is: {record.difference}.')
        job = replace(job, force=job.force or record.exists)
        record.begin()
        started = time.monotonic()
        report = infer(job)
        row = {
            'pair': name,
            'result': str(job.output),
            'scale': report.scale,
            'method': report.network['type'],
            'seconds': round(time.monotonic() - started, 2),
            **report.consistency,
        }
        record.finish(row, plain_report(report))
        return row
    finally:
        lock.release()


def _check_inputs_stay(jobs: Sequence[InferenceJob]) -> None:
    """Refuse results that would take the place of an image of any pair."""
    inputs: set[Path] = set()
    for job in jobs:
        assert isinstance(job.images, PairFiles)
        for image in (job.images.cube, job.images.guide):
            inputs.update(path.resolve() for path in files_read(image))
    for job in jobs:
        for path in (*files_written(job.output), job.preview):
            if path.resolve() in inputs:
                raise FileExistsError(f'The result {path} is one of the inputs: name another folder.')


def _check_results(jobs: Sequence[InferenceJob], settings: InferenceSettings, force: bool) -> None:
    """Refuse to begin where results of other inputs or settings stand."""
    if force:
        return
    found = []
    for job in jobs:
        assert isinstance(job.images, PairFiles)
        if job.images.cube.exists() and job.images.guide.exists():  # else the pair fails by itself
            record = PairRecord(job.output, recipe_of(job.images, settings))
            if record.state is ResultState.OTHER:
                found.append(f'{job.output.name} ({record.difference})')
    if found:
        more = f' and {len(found) - _NAMED_AT_MOST} more' if len(found) > _NAMED_AT_MOST else ''
        raise FileExistsError(
            f'{jobs[0].output.parent} holds results of other inputs or settings: {", ".join(found[:_NAMED_AT_MOST])}'
            f'{more}; name another folder, or use force to replace them.'
        )


def _on_own_gpu(settings: InferenceSettings, share: ProcessShare) -> InferenceSettings:
    """Give each process of a machine a GPU of its own, unless one is named."""
    count = torch.cuda.device_count()
    if share.local is None or settings.device not in ('auto', 'cuda') or not count:
        return settings
    return replace(settings, device=f'cuda:{share.local % count}')


def _suffix_of(cube: Path) -> str:
    """Return the suffix of a result in the format of its cube, where that can be written."""
    if cube.is_dir():
        return ''
    suffix = cube.suffix.lower()
    return suffix if suffix and suffix in WRITERS else '.npz'


@contextmanager
def _named_in_log(name: str) -> Iterator[None]:
    """Put the name of a pair before what is logged within the block."""

    def add_name(record: logging.LogRecord) -> bool:
        record.msg, record.args = f'{name}: {record.getMessage()}', None
        return True

    logger = get_root_logger()
    logger.addFilter(add_name)
    try:
        yield
    finally:
        logger.removeFilter(add_name)
