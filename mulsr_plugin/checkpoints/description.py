"""What a file of weights says of itself: of which network they are, and what that was trained for."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY

from mulsr_plugin import __version__
from mulsr_plugin.checkpoints.files import DESCRIPTION_KEY

_PLAIN = (bool, int, float, str, list, tuple, type(None))


def describe_weights(
    opt: Mapping[str, Any], num_bands: int | None = None, num_guide_ch: int | None = None
) -> dict[str, Any]:
    """Describe the weights of a training by plain values, for the file that holds them.

    Args:
        opt: Options of the training.
        num_bands: Bands of the cubes that it has seen; None for unknown.
        num_guide_ch: Channels of their guides; None for unknown, or without a guide.

    Returns:
        ``plugin_version``; ``network_g``, the block with its defaults; ``scales``, the scale factors trained for;
        ``num_bands`` and ``num_guide_ch``; ``degradation`` and ``spectral_response`` as the training set had them,
        'stored' for images read from a store of their own.
    """
    data = opt['datasets']['train']
    description = {
        'plugin_version': __version__,
        'network_g': with_defaults(opt['network_g']),
        'scales': used_scales(opt),
        'num_bands': num_bands,
        'num_guide_ch': num_guide_ch,
    }
    if data['type'] == 'PairedHSIRGBDataset':
        made = opt['train'].get('degradations') or data.get('degradation', 'authors_random')
        description['degradation'] = 'stored' if data.get('dataroot_lq') else made
        description['spectral_response'] = 'stored' if data.get('dataroot_rgb') else data.get('spectral_response')
    return plain(description)


def used_scales(opt: Mapping[str, Any]) -> list[int]:
    """Return the scale factors of a training, or of the data sets of a test."""
    if not opt.get('is_train', True):
        return sorted({data.get('upscale') or opt['scale'] for data in opt['datasets'].values()})
    train = opt['train']
    if train.get('degradations'):
        return sorted({block.get('scale', opt['scale']) for block in train['degradations']})
    return train.get('scales') or [opt['datasets']['train'].get('upscale') or opt['scale']]


def with_defaults(network_g: Mapping[str, Any]) -> dict[str, Any]:
    """Return a block ``network_g`` with the defaults of its network, as far as they are plain values."""
    parameters = inspect.signature(ARCH_REGISTRY.get(network_g['type'])).parameters.values()
    defaults = {p.name: p.default for p in parameters if isinstance(p.default, _PLAIN)}
    return plain({**defaults, **network_g})


def without_defaults(network_g: Mapping[str, Any]) -> dict[str, Any]:
    """Return a block ``network_g`` without its network's defaults, which may be tuples where the block has lists."""
    parameters = inspect.signature(ARCH_REGISTRY.get(network_g['type'])).parameters
    defaults = {name: plain(p.default) for name, p in parameters.items() if p.default is not p.empty}
    return {key: value for key, value in network_g.items() if key not in defaults or value != defaults[key]}


def plain(values: Any) -> Any:
    """Return options as dicts, lists, texts, numbers and truth values, which any file can hold."""
    return json.loads(json.dumps(values, default=str))


def description_in(content: Any) -> dict[str, Any] | None:
    """Return the description in a checkpoint; None where there is none, as in files that others wrote.

    Args:
        content: What :func:`mulsr_plugin.checkpoints.files.load_safely` returned.
    """
    description = content.get(DESCRIPTION_KEY) if isinstance(content, Mapping) else None
    if not isinstance(description, Mapping):
        return None
    network, scales = description.get('network_g'), description.get('scales')
    if not isinstance(network, Mapping) or not isinstance(network.get('type'), str):
        return None
    if not isinstance(scales, list) or not all(isinstance(scale, int) for scale in scales):
        return None
    return dict(description)


def scales_text(scales: Sequence[int]) -> str:
    """Return scale factors in words: x4 and x8."""
    return ' and '.join(f'x{scale}' for scale in scales)


def other_use(description: Mapping[str, Any], network_g: Mapping[str, Any], scales: Sequence[int]) -> list[str]:
    """Say how weights are used with other settings than they were trained with, where their tensors fit all the same.

    Args:
        description: Of the weights.
        network_g: Block of the network that they are loaded into.
        scales: Scale factors that it is used for.

    Returns:
        One text for each difference; none for another network, of which only parts may be loaded.
    """
    trained, used = description['network_g'], with_defaults(network_g)
    if trained['type'] != used['type']:
        return []
    different = sorted(key for key in {*trained, *used} - {'upscale'} if trained.get(key) != used.get(key))
    texts = [f'network_g: {key}: {trained.get(key)} (here {used.get(key)})' for key in different]
    if set(scales) - set(description['scales']):
        texts.append(f'{scales_text(description["scales"])} (here {scales_text(scales)})')
    return texts
