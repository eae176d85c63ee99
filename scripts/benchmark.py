"""Compare networks; the same as ``mulsr benchmark``."""

import sys

from mulsr_plugin.__main__ import main

if __name__ == '__main__':
    sys.exit(main(['benchmark', *sys.argv[1:]]))
