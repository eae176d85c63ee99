import sys

from mulsr_plugin.cli.benchmark import main

if __name__ == '__main__':
    sys.exit(main())
