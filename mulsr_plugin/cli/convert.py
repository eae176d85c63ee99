"""Copy the weights of a checkpoint and their description into a file of their own: safetensors, or BasicSR's form.

The name of DST decides: *.safetensors, or *.pth with the weights under 'params'. Both do for path: pretrain_network_g.
No code from SRC is run. Example:

    python scripts/convert_weights.py experiments/NAME/models/net_g_latest.pth mulsr_x8.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mulsr_plugin.checkpoints.description import description_in
from mulsr_plugin.checkpoints.files import DESCRIPTION_KEY, SAFETENSORS, load_safely, save_atomically
from mulsr_plugin.checkpoints.weights import select_weights


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='SRC', help='checkpoint: *.pth of BasicSR, or *.safetensors')
    parser.add_argument('target', metavar='DST', help='file to write: *.safetensors or *.pth')
    parser.add_argument(
        '--param-key', default='params_ema', help='weights to take; default: params_ema, where there are none params'
    )
    parser.add_argument('--force', action='store_true', help='replace DST if it exists')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, convert, and tell a user's mistake in one line."""
    args = build_parser().parse_args(argv)
    try:
        if Path(args.target).exists() and not args.force:
            raise FileExistsError(f'{args.target} exists already: name another file, or give --force to replace it.')
        if not args.target.endswith(('.pth', SAFETENSORS)):
            raise ValueError(f'{args.target}: weights are written as .pth or {SAFETENSORS}; name such a file.')
        content = load_safely(args.source)
        params, description = select_weights(content, args.param_key, args.source), description_in(content)
        save_atomically({'params': params, **({DESCRIPTION_KEY: description} if description else {})}, args.target)
    except (ValueError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.target}: {sum(value.numel() for value in params.values()):,} parameters')
    return 0


if __name__ == '__main__':
    sys.exit(main())
