"""MulSR hyperspectral super-resolution for BasicSR.

Importing this package imports neither torch nor basicsr; :func:`register` does.
"""

from __future__ import annotations

__version__ = '0.1.0'


def register() -> None:
    """Put every network, dataset, model and metric of the package into BasicSR's registries.

    Calling it again is harmless.

    Raises:
        ImportError: A dependency is missing or broken.
        ValueError: Another package has already registered one of the names.
    """
    from mulsr_plugin.autoload import register_all

    register_all()
