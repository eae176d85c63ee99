"""Tools for the maintenance of this project; run them from its root as ``python -m scripts.dev.NAME``."""

from mulsr_plugin.autoload import import_host

import_host()
