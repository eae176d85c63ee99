"""What a report shows: scenes that are loaded one at a time, the table of metrics, and how it all came about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Window = tuple[slice, slice]
"""Rows and columns."""
MOST_PIXELS = 1 << 21
"""Of a scene: what a browser moves about without delay."""


@dataclass(frozen=True)
class LoadedScene:
    """The cubes of one scene, all of one size.

    Attributes:
        cubes: Results by method, (H, W, L) float32.
        reference: (H, W, L) float32; None where there is none.
        wavelengths: Of the bands in nm; None where they are unknown.
        response: Of the guide, (G, L); None where it is unknown.
        area: Which part of the scene it is, for people; '' for the whole.
        origin: Its first row and column in the scene.
        rows: What only loading shows of :attr:`Report.rows`.
        facts: What only loading shows of :attr:`Report.facts`.
    """

    cubes: Mapping[str, np.ndarray]
    reference: np.ndarray | None = None
    wavelengths: Sequence[float] | None = None
    response: np.ndarray | None = None
    area: str = ''
    origin: tuple[int, int] = (0, 0)
    rows: Sequence[dict[str, Any]] = ()
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class ReportScene:
    """A scene that can be loaded.

    Attributes:
        name: Its name.
        dataset: That of its data set; '' for files.
        load: Reads the part of it that a :class:`Crop` chooses.
    """

    name: str
    dataset: str
    load: Callable[[Crop], LoadedScene]


@dataclass(frozen=True)
class Metric:
    """A column of the table: its key in the rows, its title, and whether more of it is better."""

    key: str
    title: str
    higher_is_better: bool


@dataclass
class Report:
    """Everything that a report shows.

    Attributes:
        title: Of the page.
        scenes: What to look at.
        methods: Labels in their order.
        metrics: Columns of the table.
        rows: ``scene``, ``dataset``, ``method`` and the value of every metric; of scenes that are not shown, too.
        facts: (Name, text) pairs on protocol, versions, dates and whatever must be known.
    """

    title: str
    scenes: list[ReportScene]
    methods: list[str]
    metrics: list[Metric] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Crop:
    """Which part of a scene is shown.

    Attributes:
        most_values: Bound on the numbers in all cubes of a scene together; of a larger one the central part is taken.
        side: Side of the central square to show. Default: None, all.
        area: Top, left, height and width to show instead. Default: None.
    """

    most_values: int
    side: int | None = None
    area: tuple[int, int, int, int] | None = None

    def window(self, size: tuple[int, int], bands: int, cubes: int) -> tuple[Window, str]:
        """Choose the part of a scene.

        Args:
            size: Height and width of the scene.
            bands: Number of bands.
            cubes: Number of cubes, the reference among them.

        Returns:
            Rows and columns, and the words that describe them; '' for the whole scene.

        Raises:
            ValueError: The area is outside of the scene.
        """
        height, width = size
        if self.area is not None:
            top, left, rows, columns = self.area
            if min(self.area) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
                raise ValueError(
                    f'The area {top},{left},{rows},{columns} is not inside of a scene of {height}x{width} pixels; '
                    'give another as TOP,LEFT,HEIGHT,WIDTH.'
                )
        else:
            rows, columns = (min(side, self.side or side) for side in size)
            top, left = (height - rows) // 2, (width - columns) // 2
        side = int(min(self.most_values / (bands * cubes), MOST_PIXELS) ** 0.5)
        why = ''
        if rows * columns > side**2:
            new_rows, new_columns = (min(rows, max(side, side**2 // columns)), min(columns, max(side, side**2 // rows)))
            top, left = top + (rows - new_rows) // 2, left + (columns - new_columns) // 2
            rows, columns, why = new_rows, new_columns, ', cut to bound the size of this file'
        if (rows, columns) == size:
            return (slice(0, height), slice(0, width)), ''
        words = (
            f'rows {top} to {top + rows - 1}, columns {left} to {left + columns - 1} of {height}x{width} pixels{why}'
        )
        return (slice(top, top + rows), slice(left, left + columns)), words


def cut_scene(
    name: str,
    cubes: Mapping[str, np.ndarray],
    reference: np.ndarray | None,
    crop: Crop,
    wavelengths: Sequence[float] | None = None,
    response: np.ndarray | None = None,
) -> LoadedScene:
    """Cut the part that is shown out of the cubes of a scene, which may lie on the disk until then.

    Args:
        name: Of the scene, for messages.
        cubes: (H, W, L) by label.
        reference: (H, W, L), or None.
        crop: Which part to take.
        wavelengths: See :class:`LoadedScene`.
        response: See :class:`LoadedScene`.

    Raises:
        ValueError: The cubes are not of one shape, or hold values that are not finite.
    """
    everything = dict(cubes) if reference is None else {'the reference': reference, **cubes}
    first, shape = next((label, cube.shape) for label, cube in everything.items())
    for label, cube in everything.items():
        if cube.ndim != 3 or cube.shape != shape:
            raise ValueError(
                f'Scene {name}: the cube of {label} has shape {cube.shape}, that of {first} {shape}; a report needs '
                'cubes of one shape (rows, columns, bands) for a scene.'
            )
    window, area = crop.window(shape[:2], shape[2], len(everything))
    parts = {label: np.ascontiguousarray(cube[window], dtype=np.float32) for label, cube in everything.items()}
    for label, part in parts.items():
        if not np.isfinite(part).all():
            raise ValueError(f'Scene {name}: the cube of {label} holds NaN or infinite values; repair it first.')
    truth = None if reference is None else parts.pop('the reference')
    return LoadedScene(parts, truth, wavelengths, response, area, (window[0].start, window[1].start))


def chosen(
    report: Report, scenes: Sequence[str] | None, methods: Sequence[str] | None, most_scenes: int, title: str | None
) -> Report:
    """Return a report with some of its scenes and methods.

    Args:
        report: Everything there is.
        scenes: Names of scenes. Default: None, the first ``most_scenes``, which a fact then says.
        methods: Labels. Default: None, all.
        most_scenes: Number of scenes where none are named.
        title: Instead of that of the report, if not None.

    Raises:
        ValueError: A scene or method is unknown.
    """
    for kind, names, known in (
        ('scene', scenes, [scene.name for scene in report.scenes]),
        ('method', methods, report.methods),
    ):
        unknown = [name for name in names or () if name not in known]
        if unknown:
            raise ValueError(f'There is no {kind} {unknown[0]!r}; there are {", ".join(dict.fromkeys(known))}.')
    shown = [scene for scene in report.scenes if scenes is None or scene.name in scenes]
    facts = list(report.facts)
    if scenes is None and len(shown) > most_scenes:
        facts.append(('Scenes', f'pictures of the first {most_scenes} of {len(shown)} scenes; --scenes names others'))
        shown = shown[:most_scenes]
    kept = [method for method in report.methods if methods is None or method in methods]
    rows = [row for row in report.rows if row['method'] in kept]
    return replace(report, title=title or report.title, scenes=shown, methods=kept, rows=rows, facts=facts)
