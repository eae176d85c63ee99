"""MulSR hyperspectral super-resolution for BasicSR.

Importing this package imports neither torch nor basicsr: :func:`register` does, and so do the functions of the Python
API, which are imported from their modules when they are first used:

- :func:`super_resolve`: arrays, cubes or files in; the super-resolved array and a report out;
- :func:`degrade`: a low-resolution cube and its guide image, made from a high-resolution cube;
- :func:`evaluate`: all spectral metrics of a result against a reference;
- :func:`read_cube` and :func:`write_cube`: spectral images in any format that the package knows;
- :func:`load_pretrained`: a network with weights that come with the package.
"""

from __future__ import annotations

__version__ = '0.2.0'

# Only for annotations and for the tools that read them: importing typing would cost more than all the rest.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mulsr_plugin.api import degrade, evaluate, super_resolve
    from mulsr_plugin.checkpoints.shipped import load_pretrained
    from mulsr_plugin.data.formats import read_cube, write_cube

__all__ = ['degrade', 'evaluate', 'load_pretrained', 'read_cube', 'register', 'super_resolve', 'write_cube']

_MODULES = {
    'degrade': 'mulsr_plugin.api',
    'evaluate': 'mulsr_plugin.api',
    'load_pretrained': 'mulsr_plugin.checkpoints.shipped',
    'read_cube': 'mulsr_plugin.data.formats',
    'super_resolve': 'mulsr_plugin.api',
    'write_cube': 'mulsr_plugin.data.formats',
}


def register() -> None:
    """Put every network, dataset, model and metric of the package into BasicSR's registries.

    Calling it again is harmless.

    Raises:
        ImportError: A dependency is missing or broken.
        ValueError: Another package has already registered one of the names.

    Example:
        >>> import mulsr_plugin
        >>> mulsr_plugin.register()
        >>> from basicsr.utils.registry import ARCH_REGISTRY
        >>> 'MulSR' in ARCH_REGISTRY
        True
    """
    from mulsr_plugin.autoload import register_all

    register_all()


def __getattr__(name: str) -> Any:
    """Import a function of the API from its module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
