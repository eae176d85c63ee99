import sys

from mulsr_plugin.cli.demo_scenes import main

if __name__ == '__main__':
    sys.exit(main())
