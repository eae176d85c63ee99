"""How the names in the published checkpoints of each network translate into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mulsr_plugin.archs.coarsenet_arch import CoarseNet
from mulsr_plugin.archs.mogdcn_arch import MoGDCN
from mulsr_plugin.archs.mulsr_arch import MulSR
from mulsr_plugin.archs.psrt_arch import PSRT
from mulsr_plugin.archs.pzresnet_arch import PZResNet
from mulsr_plugin.archs.ual_arch import UAL

_WEIGHT_NORM_NAMES = {'weight_g': 'parametrizations.weight.original0', 'weight_v': 'parametrizations.weight.original1'}


@dataclass(frozen=True)
class Release:
    """A published network.

    Attributes:
        network (type): Our class; its `options_of_weights` reads its options off the renamed tensors.
        source (str): Its repository.
        marker (str): Name of a tensor by which its checkpoints differ from those of the other networks.
        layers (Mapping[str, str]): Our names of layers, and of parameters outside layers, by those of the release,
            where they differ.
        unused (str): Regular expression of the names of tensors that are dropped: those that the release never computes
            with, and second names of the same tensor. Default: none.
        options (Mapping[str, Any]): Options of our class that the weights need and do not show. Default: none.
    """

    network: type[Any]
    source: str
    marker: str
    layers: Mapping[str, str] = field(default_factory=dict)
    unused: str = r'(?!)'
    options: Mapping[str, Any] = field(default_factory=dict)

    def rename(self, name: str) -> str | None:
        """Return our name of a tensor of the release, None if it is dropped."""
        if re.search(self.unused, name):
            return None
        if name in self.layers:
            return self.layers[name]
        layer, dot, leaf = name.rpartition('.')
        return f'{self.layers.get(layer, layer)}{dot}{_WEIGHT_NORM_NAMES.get(leaf, leaf)}'


def _pzresnet_layers() -> dict[str, str]:
    layers = {'refine.0.compressLayer.conv': 'refine.compress', 'refine.0.actlayer.conv': 'refine.conv'}
    for stage in range(3):
        layers[f'stages.{stage}.Upconv.conv'] = f'stages.{stage}.entry'
        for number in range(8):
            theirs, ours = f'stages.{stage}.denselayers.{number}', f'stages.{stage}.dense_layers.{number}'
            layers[f'{theirs}.compressLayer.conv'] = f'{ours}.compress'
            layers[f'{theirs}.actlayer.conv'] = f'{ours}.conv'
    return layers


def _mogdcn_layers() -> dict[str, str]:
    layers = {
        'delta_0': 'inner_step',
        'eta_0': 'inner_weight',
        'delta_3': 'outer_step',
        'eta_3': 'outer_weight',
        'fe_conv1': 'features',
        'conv_downsample': 'degrade',
        'conv_upsample': 'restore',
        'conv_torgb': 'to_guide',
        'conv_tohsi': 'from_guide',
    }
    for stage in range(4):
        layers[f'fe_conv{2 * stage + 2}'] = f'stage_adaptors.{stage}'
    for stage in range(3):
        layers[f'fe_conv{2 * stage + 3}'] = f'memory_adaptors.{stage}'
    encoding = {'conv1': 'convs.0', 'conv2': 'convs.1', 'conv3': 'convs.2', 'conv4': 'skip', 'conv5': 'down'}
    decoding = {'up': 'up', 'conv0': 'convs.0', 'conv1': 'convs.1', 'conv2': 'convs.2', 'conv3': 'out'}
    blocks = [(f'Encoding_block{number + 1}', f'encoders.{number}', encoding) for number in range(4)]
    blocks += [('Encoding_block_end', 'bottom', encoding)]
    blocks += [(f'Decoding_block{number + 1}', f'decoders.{number}', decoding) for number in range(3)]
    blocks += [('Decoding_block_End', 'decoders.3', decoding)]
    for theirs, ours, inside in blocks:
        for name, our_name in {**inside, 'act': 'act'}.items():
            layers[f'spatial.{theirs}.{name}'] = f'denoiser.{ours}.{our_name}'
    return layers


def _ual_layers() -> dict[str, str]:
    layers = {f'Infor.{number}': f'exchange.information.{number}' for number in (0, 2, 4)}
    for branch, letter in enumerate('XYZ'):
        for kind, name in {'G': 'gates', 'M': 'factors', 'B': 'offsets'}.items():
            layers[f'layer{letter}_{kind}'] = f'exchange.{name}.{branch}'
        for number in range(2):
            layers[f'layerIn{branch + 1}_{number + 1}'] = f'heads.{branch}.{2 * number}'
        for stage, name in enumerate(['first_bodies', 'second_bodies'], 1):
            for number in (0, 2, 4):
                layers[f'branch{branch + 1}_{stage}.{number}'] = f'{name}.{branch}.{number}'
    for number in range(3):
        layers[f'layerOut{number + 1}'] = f'tail.{2 * number}'
    return layers


def _psrt_layers() -> dict[str, str]:
    layers = {'conv.0': 'exit', 'w.conv': 'entry'}
    inside = {'norm1': 'norm', 'attn.qkv': 'qkv', 'attn.proj': 'project', 'norm2': 'mlp.0', 'mlp.fc1': 'mlp.1'}
    for block in range(6):
        for number in range(3):
            theirs = f'w.layers.{block // 3}.layers.{block % 3}.WA{number + 1}'
            for name, our_name in {**inside, 'mlp.fc2': 'mlp.3'}.items():
                layers[f'{theirs}.{name}'] = f'blocks.{block}.layers.{number}.{our_name}'
    return layers


RELEASES = {
    'MulSR': Release(MulSR, 'github.com/qianngli/MulSR', 'hsi_head_x2.weight_v'),
    # the weights were trained with the fault of the release, so they expect it
    'CoarseNet': Release(CoarseNet, 'github.com/qianngli/SFPN', 'feaFusion.weight_v', options={'legacy': True}),
    'PZResNet': Release(
        PZResNet,
        'github.com/zbzhzhy/PZRes-Net',
        'stages.0.Upconv.conv.weight',
        _pzresnet_layers(),
        # every convolution is there once more as part of a sequence
        unused=r'\.Module\.|scale_learning',
    ),
    'MoGDCN': Release(
        MoGDCN,
        'github.com/chengerr/Model-Guided-Deep-Hyperspectral-Image-Super-resolution',
        'conv_torgb.weight',
        _mogdcn_layers(),
        unused=r'^(P|(spatial\.)?acti\.weight|(delta|eta)_[12456])$',
    ),
    'UAL': Release(UAL, 'github.com/JiangtaoNie/UAL-CVPR2020', 'layerIn1_1.weight', _ual_layers()),
    'PSRT': Release(PSRT, 'github.com/Deng-shangqi/PSRT', 'w.layers.0.layers.0.WA1.attn.qkv.weight', _psrt_layers()),
}
