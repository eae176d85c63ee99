"""Convert a checkpoint; the same as ``mulsr convert``."""

import sys

from mulsr_plugin.__main__ import main

if __name__ == '__main__':
    sys.exit(main(['convert', *sys.argv[1:]]))
