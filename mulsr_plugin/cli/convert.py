"""Convert an authors' checkpoint for BasicSR, or BasicSR's weights to safetensors and back.

What SRC holds decides. Checkpoints that the authors of MulSR, CoarseNet (SFPN), PZRes-Net, MoG-DCN, UAL and PSRT
published are recognised by the names in them, and the options that build their network are printed. Of BasicSR's
checkpoints the weights are copied with their description. DST ends in .pth, for weights under 'params', or in
.safetensors; both do for path: pretrain_network_g. No code from SRC is run. Examples:

  mulsr convert model_8_epoch_200.pth experiments/pretrained_models/mulsr_x8.pth
  mulsr convert experiments/NAME/models/net_g_latest.pth mulsr_x8.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulsr_plugin.cli.checks import check_new, check_suffix
from mulsr_plugin.cli.choices import AUTHOR_NETWORKS, WEIGHTS_SUFFIXES
from mulsr_plugin.cli.parsing import CommandParser

if TYPE_CHECKING:
    from mulsr_plugin.checkpoints.authors import ConvertedCheckpoint

_AVERAGED = 'params_ema'


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    parser.add_argument('source', metavar='SRC', help="*.pth of BasicSR, *.safetensors, or an authors' file")
    parser.add_argument('target', metavar='DST', help='file to write: *.pth or *.safetensors')
    parser.add_argument(
        '--network', choices=AUTHOR_NETWORKS, help="of an authors' file; default: recognised by the names in the file"
    )
    parser.add_argument(
        '--param-key',
        metavar='KEY',
        help="weights to take from BasicSR's file; default: params_ema, where there are none params",
    )
    parser.add_argument('--force', action='store_true', help='replace DST if it exists')


def run(args: argparse.Namespace) -> int:
    """Check the files, read SRC, and convert it as what it is."""
    if args.network is not None and args.param_key is not None:
        raise ValueError("--network is for an authors' file, --param-key for one of BasicSR: leave one of them out.")
    if not Path(args.source).is_file():
        raise FileNotFoundError(f'There is no checkpoint {args.source}; correct its path.')
    check_suffix(args.target, WEIGHTS_SUFFIXES)
    check_new(args.target, args.force)
    from mulsr_plugin.checkpoints.files import load_safely

    content = load_safely(args.source)
    if args.network is not None or (args.param_key is None and is_authors_file(content)):
        convert_authors_file(args)
    else:
        copy_weights(content, args)
    return 0


def is_authors_file(content: Any) -> bool:
    """Return whether a checkpoint has the form in which authors publish theirs.

    Args:
        content: What the file holds.

    Returns:
        Whether it is a state dict, or has one under ``model`` and none under ``params`` or ``params_ema``.
    """
    from torch import Tensor

    if not isinstance(content, dict) or {'params', _AVERAGED} & content.keys():
        return False
    state = content.get('model', content)
    return isinstance(state, dict) and bool(state) and all(isinstance(value, Tensor) for value in state.values())


def convert_authors_file(args: argparse.Namespace) -> None:
    """Convert a checkpoint that authors have published, and print the options to use it with."""
    from mulsr_plugin.checkpoints.authors import convert_author_checkpoint

    converted = convert_author_checkpoint(args.source, args.target, args.network, args.force)
    count = sum(value.numel() for value in converted.params.values())
    print(f'{args.target}: {converted.network_g["type"]}, {count:,} parameters. In the option file:\n')
    print(option_lines(converted, args.target))


def option_lines(converted: ConvertedCheckpoint, target: str) -> str:
    """Return the part of an option file that uses the checkpoint."""
    lines = [f'  {key}: {value}' for key, value in converted.network_g.items()]
    lines.insert(1, '  upscale: 8  # set the scale that the checkpoint was trained for: its weights do not name it')
    return '\n'.join(
        [
            'network_g:',
            *lines,
            'path:',
            f'  pretrain_network_g: {target}',
            '  param_key_g: params',
            '  strict_load_g: true',
        ]
    )


def copy_weights(content: Any, args: argparse.Namespace) -> None:
    """Write the weights of a checkpoint in BasicSR's form, and their description, into a file of their own."""
    from mulsr_plugin.checkpoints.description import description_in
    from mulsr_plugin.checkpoints.files import DESCRIPTION_KEY, save_atomically
    from mulsr_plugin.checkpoints.weights import PREFERRED, select_weights

    params, description = select_weights(content, args.param_key or PREFERRED, args.source), description_in(content)
    save_atomically({'params': params, **({DESCRIPTION_KEY: description} if description else {})}, args.target)
    print(f'{args.target}: {sum(value.numel() for value in params.values()):,} parameters')
