"""Files of weights and training states: writing, checking, describing, recognising, converting."""

from mulsr_plugin.autoload import import_host

import_host()
