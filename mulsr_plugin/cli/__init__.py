"""The commands of ``mulsr``, a module each.

A module has a docstring, which is the help of its command, ``add_arguments(parser)`` and ``run(args)``, which returns
the exit code. It may also have ``INTERRUPTED``, what to say after Ctrl-C; ``after_failure(args)``, which returns more
lines to print after an error or an interruption; and ``HANDLES_ERRORS = True`` if ``run`` deals with errors and signals
itself.

PyTorch and BasicSR take seconds to import: a module imports them, and the rooms of the package that do, only within
``run``, after everything has been checked that can be checked without. See :mod:`mulsr_plugin.cli.checks` and
:mod:`mulsr_plugin.cli.choices`.
"""
