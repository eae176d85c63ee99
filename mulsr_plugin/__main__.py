"""The command ``mulsr``, also ``python -m mulsr_plugin``: one word for each thing that the package does."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from mulsr_plugin import __version__
from mulsr_plugin.cli.running import help_line, run_command

# The commands in the order of the help, and the modules of mulsr_plugin.cli that hold them.
COMMANDS = {
    'infer': 'infer',
    'evaluate': 'evaluate',
    'simulate': 'simulate',
    'prepare': 'prepare',
    'train': 'train',
    'test': 'test',
    'options': 'options',
    'benchmark': 'benchmark',
    'compare': 'compare',
    'plot': 'plot',
    'report': 'report',
    'convert': 'convert',
    'export': 'export',
    'estimate-sensor': 'sensor',
    'estimate-response': 'response',
    'demo-scenes': 'demo_scenes',
    'doctor': 'doctor',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Name of the command and its arguments. Default: None, those of the process.

    Returns:
        Exit code: 0; 1 for an error; 2 for an unknown command; 130 and 143 after SIGINT and SIGTERM; those of training.

    Raises:
        SystemExit: After ``--help`` (0) and for wrong arguments (2).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else '--help'
    if name in ('-h', '--help'):
        print(overview())
        return 0
    if name == '--version':
        print(f'mulsr-plugin {__version__}')
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        advice = f'did you mean {close[0]!r}?' if close else f'choose one of {", ".join(COMMANDS)}.'
        print(f'mulsr: error: unknown command {name!r}; {advice}', file=sys.stderr)
        return 2
    return run_command(name, COMMANDS[name], words[1:])


def overview() -> str:
    """Return the help: all commands with a line each."""
    lines = [f'  {name:<18} {help_line(module)}' for name, module in COMMANDS.items()]
    return '\n'.join(
        [
            'usage: mulsr COMMAND ...\n',
            'Hyperspectral super-resolution with BasicSR.\n',
            'commands:',
            *lines,
            '\n`mulsr COMMAND --help` describes a command, `mulsr --version` prints the version.',
        ]
    )


if __name__ == '__main__':
    sys.exit(main())
