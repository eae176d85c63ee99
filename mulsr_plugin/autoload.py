"""Make an unmodified BasicSR load this plugin.

How it works, in one place:

1. The package declares :func:`install` as an entry point of PyTorch's group ``torch.backends``. ``import torch`` calls
   it, and it only puts a :class:`HostFinder` in ``sys.meta_path``. BasicSR imports torch before anything of its own,
   so the finder is there in time whichever of the two is imported first.
2. The finder knows two module names. ``torchvision.transforms.functional_tensor``, which BasicSR 1.4.2 imports and
   torchvision 0.17 dropped, becomes an alias of ``torchvision.transforms.functional`` if it is truly missing. And
   ``basicsr.models``, which ``basicsr/__init__.py`` imports after its archs, data, losses and metrics: the real module
   is loaded, then ours are imported, which register themselves. Every import below ``basicsr`` runs that
   ``__init__.py`` first, so the order is the same whichever module is asked for.
3. Every registering package of ours starts with :func:`load_package`, which imports the host completely before any of
   our modules. So a direct ``import mulsr_plugin.archs.mulsr_arch`` takes the same road: host, step 2 (registers
   everything; the half-initialised package does no harm, its modules are imported by name), then the asked module.

"Exactly once" is left to Python's import system: registering is importing, and a second import does nothing. There is
no lock of our own, which could deadlock with the import locks. If a registration fails in step 2, BasicSR and its other
users go on; our names are taken by stand-ins that raise the error when called; :func:`register_all` tries anew.
"""

from __future__ import annotations

import sys

# Only for annotations: with autoload this module is imported by every `import torch`, and should cost nothing there.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

HOST_MODELS = 'basicsr.models'
FUNCTIONAL = 'torchvision.transforms.functional'
FUNCTIONAL_TENSOR = 'torchvision.transforms.functional_tensor'

# Registering packages, in BasicSR's own order, and how the names of their registering modules end.
PACKAGES = {
    'mulsr_plugin.archs': '_arch',
    'mulsr_plugin.data': '_dataset',
    'mulsr_plugin.losses': '_loss',
    'mulsr_plugin.metrics': '',
    'mulsr_plugin.models': '_model',
}

# What the plugin registers and where: known without importing it, so that a failed registration can still answer for
# each name. A test compares the table with what is really registered.
NAMES = {
    'arch': {
        'BicubicUpsampler': 'mulsr_plugin.archs.bicubic_arch',
        'CNMF': 'mulsr_plugin.archs.cnmf_arch',
        'CoarseNet': 'mulsr_plugin.archs.coarsenet_arch',
        'GSA': 'mulsr_plugin.archs.gsa_arch',
        'HySure': 'mulsr_plugin.archs.hysure_arch',
        'MTFGLP': 'mulsr_plugin.archs.mtfglp_arch',
        'MoGDCN': 'mulsr_plugin.archs.mogdcn_arch',
        'MulSR': 'mulsr_plugin.archs.mulsr_arch',
        'MulSRCube': 'mulsr_plugin.archs.mulsrcube_arch',
        'PSRT': 'mulsr_plugin.archs.psrt_arch',
        'PZResNet': 'mulsr_plugin.archs.pzresnet_arch',
        'SSRNet': 'mulsr_plugin.archs.ssrnet_arch',
        'SensorFusion': 'mulsr_plugin.archs.sensorfusion_arch',
        'SensorStart': 'mulsr_plugin.archs.sensorstart_arch',
        'StackedGuide': 'mulsr_plugin.archs.adapters_arch',
        'UAL': 'mulsr_plugin.archs.ual_arch',
        'Unguided': 'mulsr_plugin.archs.adapters_arch',
    },
    'dataset': {'PairedHSIRGBDataset': 'mulsr_plugin.data.paired_hsi_rgb_dataset'},
    'loss': {
        'L1SAMLoss': 'mulsr_plugin.losses.l1_sam_loss',
        'LogErrorLoss': 'mulsr_plugin.losses.log_error_loss',
    },
    'metric': {
        'calculate_hsi_psnr': 'mulsr_plugin.metrics.psnr',
        'calculate_mpsnr': 'mulsr_plugin.metrics.psnr',
        'calculate_hsi_ssim': 'mulsr_plugin.metrics.ssim',
        'calculate_sam': 'mulsr_plugin.metrics.sam',
        'calculate_ergas': 'mulsr_plugin.metrics.ergas',
        'calculate_rmse': 'mulsr_plugin.metrics.rmse',
        'calculate_cc': 'mulsr_plugin.metrics.cc',
        'calculate_uiqi': 'mulsr_plugin.metrics.uiqi',
        'calculate_q2n': 'mulsr_plugin.metrics.q2n',
        'calculate_d_lambda': 'mulsr_plugin.metrics.qnr',
        'calculate_d_s': 'mulsr_plugin.metrics.qnr',
        'calculate_qnr': 'mulsr_plugin.metrics.qnr',
        'calculate_spectral_consistency': 'mulsr_plugin.metrics.consistency',
        'calculate_spatial_consistency': 'mulsr_plugin.metrics.consistency',
    },
    'model': {
        'HSISRModel': 'mulsr_plugin.models.hsi_sr_model',
        'MulSRModel': 'mulsr_plugin.models.mulsr_model',
        'SensorStartModel': 'mulsr_plugin.models.sensorstart_model',
    },
}

# True while register_all() imports the host: it registers right afterwards and reports errors to its caller.
_caller_registers = False


def install() -> None:
    """Put the finder in front of ``sys.meta_path``; calling it again, or after a reload, is harmless."""
    if not is_installed():
        sys.meta_path.insert(0, HostFinder())  # type: ignore[arg-type]


def is_installed() -> bool:
    """Return whether the finder is in ``sys.meta_path``."""
    return any(_is_host_finder(finder) for finder in sys.meta_path)


def register_all() -> None:
    """Import the host and every registering module of the plugin; calling it again is harmless.

    Raises:
        ImportError: The host or one of our modules cannot be imported.
        ValueError: Another package has already registered one of our names.
    """
    global _caller_registers
    _caller_registers = True
    try:
        import_host()
    finally:
        _caller_registers = False
    _register()


def import_host() -> None:
    """Import the whole of basicsr, with its missing torchvision module supplied.

    Inside the host's own import this returns at once, as a nested ``import`` of a half-imported package does.

    Raises:
        ImportError: The host, or something that it needs, cannot be imported.
    """
    install()
    _find_distutils()
    try:
        import basicsr  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != 'basicsr':
            raise
        command = f'{sys.executable} -m mulsr_plugin.install_basicsr'
        raise ModuleNotFoundError(f'BasicSR is not installed; run `{command}`.', name='basicsr') from error


def _find_distutils() -> None:
    """Let setuptools lend distutils, which BasicSR imports and Python 3.12 dropped, in a process that began without it.

    Python's start does so where setuptools is installed by then; a notebook installs it, with PyTorch, while it runs.
    """
    from contextlib import suppress
    from importlib import import_module
    from importlib.util import find_spec

    if 'distutils' not in sys.modules and find_spec('distutils') is None:
        with suppress(ImportError):
            import_module('setuptools')


def load_package(package: str) -> None:
    """Import the registering modules of one of :data:`PACKAGES`, in sorted order.

    Args:
        package: Full name of the package, which must be (half-)imported.

    Raises:
        ImportError: The host or one of the modules cannot be imported.
        ValueError: Another package has already registered one of the names.
    """
    from importlib import import_module
    from pkgutil import iter_modules

    import_host()
    _make_room(package)
    found = (module.name for module in iter_modules(sys.modules[package].__path__))
    for name in sorted(found):
        if name.endswith(PACKAGES[package]) and not name.startswith('_'):
            import_module(f'{package}.{name}')


def registries() -> dict[str, Any]:
    """Return BasicSR's registries that we use, under the keys of :data:`NAMES`.

    Raises:
        ImportError: The host is a fork from before BasicSR had registries.
    """
    from basicsr.utils import registry

    return {kind: getattr(registry, f'{kind.upper()}_REGISTRY') for kind in NAMES}


def stand_in_cause(entry: Any) -> BaseException | None:
    """Return the error for which a registry entry stands in, or None for any other entry."""
    return getattr(entry, '_mulsr_plugin_cause', None)


class HostFinder:
    """Meta path finder for the two module names that the plugin takes care of."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """Return a spec for our two names and None, "not mine", for any other; see the module's docstring."""
        if fullname == HOST_MODELS:
            spec = _find_elsewhere(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _RegisteringLoader(spec.loader)  # type: ignore[assignment]
            return spec
        if fullname == FUNCTIONAL_TENSOR and _find_elsewhere(fullname, path, target) is None:
            from importlib.machinery import ModuleSpec

            return ModuleSpec(fullname, _AliasLoader())  # type: ignore[arg-type]
        return None


class _AliasLoader:
    """Let ``functional_tensor`` be the module ``functional`` itself."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from importlib import import_module

        # The import system hands out what it finds here after the module has run.
        sys.modules[FUNCTIONAL_TENSOR] = import_module(FUNCTIONAL)


class _RegisteringLoader:
    """Load ``basicsr.models`` with its real loader, then register the plugin."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Nothing of ours stays behind in the module, for those who inspect, pickle or reload it.
        module.__loader__ = module.__spec__.loader = self._loader  # type: ignore[union-attr]
        self._loader.exec_module(module)
        if not _caller_registers:
            _register_or_stand_in()


def _is_host_finder(finder: Any) -> bool:
    # By name, for after a reload of this module the class is another one.
    return (type(finder).__module__, type(finder).__qualname__) == (__name__, 'HostFinder')


def _find_elsewhere(fullname: str, path: Sequence[str] | None, target: Any) -> ModuleSpec | None:
    """Ask the other finders in their order."""
    for finder in sys.meta_path:
        find_spec = getattr(finder, 'find_spec', None)
        if find_spec is not None and not _is_host_finder(finder):
            spec = find_spec(fullname, path, target)
            if spec is not None:
                return spec
    return None


def _register() -> None:
    from importlib import import_module

    for package in PACKAGES:
        import_module(package)
        load_package(package)  # the line above does nothing when the package's own import led here


def _register_or_stand_in() -> None:
    """Register; if that fails, log why once and let only those who ask for one of our names run into the error."""
    try:
        _register()
    except Exception as error:
        import logging
        from contextlib import suppress

        # Not BasicSR's get_root_logger(): the first call of that settles the log's level and files for good.
        logging.getLogger('mulsr_plugin').exception(
            'mulsr_plugin could not register its networks, datasets, models and metrics; BasicSR goes on without them.'
        )
        with suppress(ImportError):  # a fork without registries: nobody can ask for a name
            _stand_in(error)
    else:
        _attend_stock_script()


def _attend_stock_script() -> None:
    """Have the run of BasicSR's own train.py or test.py tried out first, if one of them is what Python runs."""
    script = _stock_script()
    if script is not None:
        from importlib import import_module

        import_module('mulsr_plugin.training.stock_script').attend(is_train=script == 'train')


def _stock_script() -> str | None:
    """Return 'train' or 'test' if BasicSR's script of that name is the program, not one of its loader's workers."""
    from os.path import dirname, join, realpath

    processes = sys.modules.get('multiprocessing.process')
    if processes is not None and processes.parent_process() is not None:
        return None
    if sys.argv[:1] == ['-m']:  # Python imports the package before it knows the file of the module
        module = sys.orig_argv[sys.orig_argv.index('-m') + 1]
        return {'basicsr.train': 'train', 'basicsr.test': 'test'}.get(module)
    program = getattr(sys.modules.get('__main__'), '__file__', None)
    folder = dirname(str(sys.modules['basicsr'].__file__))
    scripts = {realpath(join(folder, f'{name}.py')): name for name in ('train', 'test')}
    return scripts.get(realpath(program)) if program else None


def _stand_in(error: Exception) -> None:
    """Register under each missing name of ours a callable that raises the error."""
    for kind, registry in registries().items():
        for name in NAMES[kind]:
            if _is_void(registry._obj_map.get(name)):
                registry._obj_map[name] = _make_stand_in(kind, name, error)


def _make_stand_in(kind: str, name: str, error: Exception) -> Callable[..., Any]:
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        raise ImportError(
            f"The {kind} '{name}' is not available because mulsr_plugin could not be registered "
            f'({type(error).__name__}: {error}); run `python -m mulsr_plugin.doctor`.'
        ) from error

    stand_in.__name__ = stand_in.__qualname__ = name
    stand_in._mulsr_plugin_cause = error  # type: ignore[attr-defined]
    return stand_in


def _make_room(package: str) -> None:
    """Drop what an earlier failure left under the names of a package, and refuse names that somebody else has taken."""
    for kind, registry in registries().items():
        # BasicSR's registry has no public way to look up or to remove a name
        entries = registry._obj_map
        for name, module in NAMES[kind].items():
            if name not in entries or not module.startswith(f'{package}.'):
                continue
            if not _is_ours(entries[name]):
                raise ValueError(
                    f"The {kind} name '{name}' of {module} is already registered by {entries[name].__module__}: "
                    'remove one of the two packages or rename the other one.'
                )
            if _is_void(entries[name]):
                del entries[name]


def _is_ours(entry: Any) -> bool:
    return str(getattr(entry, '__module__', '')).startswith('mulsr_plugin.')


def _is_void(entry: Any) -> bool:
    """Return whether an entry is missing, a stand-in, or of a module of ours that failed after defining it."""
    if entry is None or stand_in_cause(entry) is not None:
        return True
    return _is_ours(entry) and entry.__module__ not in sys.modules
