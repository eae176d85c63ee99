import sys

from mulsr_plugin.cli.prepare import main

if __name__ == '__main__':
    sys.exit(main())
