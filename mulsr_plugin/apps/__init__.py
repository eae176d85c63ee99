"""What the commands do: inference, export, tables of results."""

from mulsr_plugin.autoload import import_host

import_host()
