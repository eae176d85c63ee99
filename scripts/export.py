import sys

from mulsr_plugin.cli.export import main

if __name__ == '__main__':
    sys.exit(main())
