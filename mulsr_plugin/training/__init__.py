"""The plugin's own launcher: exact resumes, stop signals, time budgets."""

from mulsr_plugin.autoload import import_host

import_host()
