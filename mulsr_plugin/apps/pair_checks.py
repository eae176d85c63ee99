"""What a pair says against itself before it is super-resolved: doubts of the readers, places, shift, brightness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from basicsr.utils import get_root_logger

from mulsr_plugin.checkpoints.networks import WeightsFile
from mulsr_plugin.data.cube import Cube, Doubt, scaled_to_unit
from mulsr_plugin.data.radiometry import guide_radiometry
from mulsr_plugin.data.registration import Shift, measure_shift, note_on_places
from mulsr_plugin.data.spectral_response import load_spectral_response

# Pixels of the cube: registered images measure less (see measure_shift), the authors' shifted blur more.
_SMALLEST_SHIFT_WARNED = 0.2


def log_notes(**notes_of: Sequence[str]) -> None:
    """Log what the readers of images have assumed, as a warning where the result depends on it.

    Args:
        **notes_of (Sequence[str]): Notes by the name that the log gives their image; that of the cube is left out.
    """
    for name, notes in notes_of.items():
        for note in notes:
            _log_note(note, '' if name == 'cube' else f'{name}: ')


def check_registration(cube: Cube, guide: Cube, scale: int, is_corrected: bool) -> Shift | None:
    """Measure the shift between cube and guide image and warn of one that stays; compare their georeferences.

    Args:
        cube (Cube): (h, w, L).
        guide (Cube): (scale * h, scale * w, G).
        scale (int): Scale factor.
        is_corrected (bool): Whether the method undoes a shift.

    Returns:
        Shift | None: None where it could not be measured.
    """
    check_places(cube, guide)
    shift = measure_shift(cube.values, guide.values)
    if is_corrected:
        return shift
    if shift is None:
        get_root_logger().warning(
            'The shift between cube and guide could not be measured: they have too little in common.'
        )
    elif max(abs(shift.down), abs(shift.right)) > _SMALLEST_SHIFT_WARNED * scale:
        down, right = ('down' if shift.down > 0 else 'up'), ('right' if shift.right > 0 else 'left')
        get_root_logger().warning(
            f'The cube is shifted against the guide by {abs(shift.down):.1f} pixels {down} and '
            f'{abs(shift.right):.1f} {right} (pixels of the guide, correlation {shift.correlation:.2f}): register them '
            'first, unless the network was trained on images shifted like this.'
        )
    return shift


def check_radiometry(cube: Cube, guide: Cube, response: np.ndarray | None, weights: WeightsFile | None = None) -> None:
    """Warn of a guide of another brightness or contrast than its response makes of the cube, where one is known.

    Args:
        cube (Cube): (h, w, L).
        guide (Cube): (scale * h, scale * w, G).
        response (ndarray | None): Response of the guide, (G, L), where it was given.
        weights (WeightsFile | None): Weights, which may say with which response they were trained. Default: None.
    """
    if response is None and weights is not None:
        response = _trained_response(cube, guide, weights)
    if response is None:
        return
    low, high = (scaled_to_unit(image.values, image.scale) for image in (cube, guide))
    radiometry = guide_radiometry(low, high, response)
    if radiometry is not None and not radiometry.is_right:
        get_root_logger().warning(radiometry.describe(guide.scale))


def check_places(cube: Cube, guide: Cube) -> None:
    """Warn where the georeferences of a pair contradict each other, and log where they cannot be compared."""
    note = note_on_places(cube, guide)
    if note is not None:
        _log_note(note)


def _log_note(note: str, label: str = '') -> None:
    log = get_root_logger().warning if isinstance(note, Doubt) else get_root_logger().info
    log(f'{label}{note}')


def _trained_response(cube: Cube, guide: Cube, weights: WeightsFile) -> np.ndarray | None:
    """Return the response of the guides that weights were trained with, where they say it and it fits the pair."""
    name = (weights.description or {}).get('spectral_response')
    if not isinstance(name, str) or name == 'stored':
        return None
    try:
        response = load_spectral_response(name, cube.num_bands, cube.wavelengths)
    except (ValueError, OSError):  # of other bands, or a file that is only where the training was
        return None
    return response if len(response) == guide.num_bands else None
