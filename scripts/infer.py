"""Super-resolve a cube; the same as ``mulsr infer``."""

import sys

from mulsr_plugin.__main__ import main

if __name__ == '__main__':
    sys.exit(main(['infer', *sys.argv[1:]]))
