"""Source reader: the WorldView-2 sample of the Roman Colosseum, or another WorldView-2 pair.

A multispectral image of 419 x 658 pixels with 8 bands (coastal, blue, green, yellow, red, red edge, NIR1, NIR2; about
2 m) and an RGB image of 1676 x 2632 pixels of the same ground (about 0.5 m): scale 4. The files are GeoTIFFs, or
variables of a .mat file; a panchromatic image serves as guide too. There is no ground truth. As in the literature
the upper part is for training, at the resolution that Wald's protocol reduces it to; the lower part is tested at that
resolution against its own original, and at full resolution without a reference.

Reference for the protocol: Xie et al., "MHF-Net: An Interpretable Deep Network for Multispectral and Hyperspectral
Image Fusion", IEEE TPAMI, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mulsr_plugin.data.cube import NO_REFERENCE, Cube, SceneCubes, SourceScene
from mulsr_plugin.data.sources.pair import PairFiles, pair_scenes
from mulsr_plugin.data.sources.wald import cut
from mulsr_plugin.data.spectral_response import SENSORS
from mulsr_plugin.utils.files import PathLike

KEY = 'colosseum'
BANDS = SENSORS['worldview2']
BITS = 11  # kept in 16
NYQUIST_GAIN = 0.35  # of the multispectral bands; NIR2 has 0.27


def colosseum_scenes(
    cube: PathLike,
    guide: PathLike | None = None,
    test_part: float = 0.5,
    cube_options: Mapping[str, Any] | None = None,
    guide_options: Mapping[str, Any] | None = None,
) -> list[SourceScene]:
    """List the three scenes of the pair: training and test at reduced resolution, test at full resolution.

    The reduced cubes are made by the sensor's modulation transfer function. The full-resolution scene is the lower
    part alone, which training has not seen.

    Args:
        cube (str | PathLike): File with the multispectral image.
        guide (str | PathLike | None): File with the RGB or panchromatic image; None means the same file. Default: None.
        test_part (float): Share of the rows, from the bottom, that is for tests. Default: 0.5.
        cube_options (Mapping | None): Arguments of ``read_cube`` for the multispectral image, such as ``key``.
            Default: none.
        guide_options (Mapping | None): Arguments of ``read_cube`` for the guide. Default: none.

    Raises:
        ValueError: ``test_part`` leaves one of the parts empty.
    """
    if not 0 < test_part < 1:
        raise ValueError(f'test_part is {test_part}, expected a share of the rows above 0 and below 1.')
    pair = ColosseumFiles(
        KEY, Path(cube), Path(cube if guide is None else guide), cube_options or {}, guide_options or {}
    )
    degradation = {'preset': 'sensor_mtf', 'nyquist_gain': NYQUIST_GAIN}
    scenes = pair_scenes([pair], reduced=True, test_part=test_part, degradation=degradation)
    reduced = [scene for scene in scenes if scene.phase != NO_REFERENCE]
    return [*reduced, SourceScene(KEY, partial(_load_lower, pair, 1 - test_part), NO_REFERENCE)]


@dataclass(frozen=True)
class ColosseumFiles(PairFiles):
    """A WorldView-2 pair."""

    def load(self) -> tuple[Cube, Cube, int]:
        """Read multispectral image and guide, 11-bit counts scaled to [0, 1].

        Raises:
            ValueError: A file is damaged, has other bands, or the sizes are not in a whole ratio.
        """
        cube, guide, scale = PairFiles.load(
            replace(
                self,
                cube_options={'bits': BITS, **self.cube_options},
                guide_options={'bits': BITS, **self.guide_options},
            )
        )
        for image, path, allowed in ((cube, self.cube, (len(BANDS.centres),)), (guide, self.guide, (1, 3))):
            if image.num_bands not in allowed:
                raise ValueError(
                    f'{path} has {image.num_bands} bands, expected {" or ".join(map(str, allowed))} of a WorldView-2 '
                    'image; prepare other sensors with the source pair.'
                )
        return replace(cube, wavelengths=cube.wavelengths or BANDS.centres), guide, scale


def _load_lower(pair: PairFiles, share: float) -> SceneCubes:
    """Read what lies below a share of the rows, which begins where a reduced pixel begins."""
    cube, guide, scale = pair.load()
    height, width = cube.values.shape[:2]
    top = int(height * share / scale) * scale
    return SceneCubes(
        lq=cut(cube, top, 0, height - top, width),
        rgb=cut(guide, scale * top, 0, scale * (height - top), scale * width),
    )
