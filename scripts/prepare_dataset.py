"""Prepare a data set; the same as ``mulsr prepare``."""

import sys

from mulsr_plugin.__main__ import main

if __name__ == '__main__':
    sys.exit(main(['prepare', *sys.argv[1:]]))
