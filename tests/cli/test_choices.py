"""What the command line offers without importing it is what there is."""

from __future__ import annotations

from mulsr_plugin.apps.methods import METHODS
from mulsr_plugin.checkpoints import shipped
from mulsr_plugin.checkpoints.author_releases import RELEASES
from mulsr_plugin.checkpoints.files import SAFETENSORS
from mulsr_plugin.cli import choices
from mulsr_plugin.data import formats, scene_splits
from mulsr_plugin.data.formats import AXES, WRITERS
from mulsr_plugin.data.sources import demo_scenes, harvard
from mulsr_plugin.models.inference import DEFAULT_HALO
from mulsr_plugin.models.precision import PRECISIONS


def test_choices_are_those_of_the_package() -> None:
    assert choices.AXES == AXES
    assert choices.PRECISIONS == PRECISIONS
    assert choices.METHODS == METHODS
    assert choices.DEFAULT_HALO == DEFAULT_HALO
    assert choices.NORMALISATIONS == harvard.NORMALISATIONS
    assert choices.MASK_TREATMENTS == harvard.MASK_TREATMENTS
    assert tuple(sorted(RELEASES)) == choices.AUTHOR_NETWORKS
    assert set(choices.CUBE_SUFFIXES) == set(WRITERS) - {''}
    assert choices.READ_SUFFIXES == formats.CUBE_SUFFIXES
    assert choices.WEIGHTS_SUFFIXES == ('.pth', SAFETENSORS)
    assert choices.LARGEST_DEMO_SCENE == demo_scenes.LARGEST_SIZE
    assert choices.shipped_weights() == list(shipped.shipped_weights())
    assert choices.shipped_splits() == scene_splits.shipped_splits()
