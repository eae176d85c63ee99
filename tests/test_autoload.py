"""The plugin reaches an unmodified BasicSR whatever is imported first, and harms nobody when it cannot."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import distribution
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from mulsr_plugin import autoload, register
from tests.processes import run_python

EXPECTED = {kind: sorted(names) for kind, names in autoload.NAMES.items()}

# Prints as the last line which names of ours each registry holds, whether as stand-ins, and how many finders there are.
SHOW = """
import json, sys
from mulsr_plugin import autoload
entries = {kind: dict(iter(registry)) for kind, registry in autoload.registries().items()}
names = {kind: sorted(n for n, e in held.items() if e.__module__.startswith('mulsr_plugin.'))
         for kind, held in entries.items()}
stand_ins = sorted(n for held in entries.values() for n, e in held.items() if autoload.stand_in_cause(e))
finders = sum(type(finder).__name__ == 'HostFinder' for finder in sys.meta_path)
print(json.dumps({'names': names, 'stand_ins': stand_ins, 'finders': finders}))
"""
ALL_REGISTERED = {'names': EXPECTED, 'stand_ins': [], 'finders': 1}

# Run with a process pool or a launcher, so it has to be a file.
PROBE = """
import json, os
import torch

class Probe(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return os.getpid(), names()

def names():
    from mulsr_plugin import autoload
    held = set().union(*(registry.keys() for registry in autoload.registries().values()))
    return {kind: sorted(held & ours.keys()) for kind, ours in autoload.NAMES.items()}

def loaders():
    for method in 'fork', 'spawn', 'forkserver':
        loader = torch.utils.data.DataLoader(
            Probe(), batch_size=None, num_workers=1, multiprocessing_context=method)
        pid, found = next(iter(loader))
        assert pid != os.getpid()
        yield found

def compile_worker():
    from torch._inductor.compile_worker.subproc_pool import SubprocPool
    pool = SubprocPool(1)
    yield pool.submit(names).result(timeout=120)
    pool.shutdown()

if __name__ == '__main__':
    with open(f'rank_{os.environ["RANK"]}.json', 'w') as file:  # lines that two ranks print may mix
        json.dump(names(), file)
"""


@pytest.fixture(autouse=True, scope='module')
def _plugin_is_installed() -> None:
    points = [(point.group, point.value) for point in distribution('mulsr-plugin').entry_points]
    assert ('torch.backends', 'mulsr_plugin.autoload:install') in points, 'install the plugin: pip install -e .'


def shown(code: str, tmp_path: Path, **options: Any) -> dict[str, Any]:
    process = run_python('-c', dedent(code) + SHOW, cwd=tmp_path, **options)
    assert process.returncode == 0, process.stderr
    return {**json.loads(process.stdout.splitlines()[-1]), 'stderr': process.stderr}


def test_table_of_names_is_what_is_registered() -> None:
    register()
    for kind, registry in autoload.registries().items():
        ours = {name: entry.__module__ for name, entry in registry if entry.__module__.startswith('mulsr_plugin.')}
        assert ours == autoload.NAMES[kind]


@pytest.mark.parametrize(
    'code',
    [
        'import torch, basicsr',
        'import basicsr',
        # a direct import of ours enters the host half-way through its own package
        'import mulsr_plugin.archs.mulsr_arch',
        'from mulsr_plugin.models.mulsr_model import MulSRModel',
        'import mulsr_plugin.training.resume',
        """
        from basicsr.archs import build_network
        net = build_network({'type': 'MulSR', 'upscale': 8, 'num_feat': 8})
        assert type(net).__module__ == 'mulsr_plugin.archs.mulsr_arch'
        assert type(build_network({'type': 'MSRResNet'})).__module__ == 'basicsr.archs.srresnet_arch'
        """,
    ],
)
def test_registered_whatever_comes_first(code: str, tmp_path: Path) -> None:
    result = shown(code, tmp_path)
    assert 'could not register' not in result.pop('stderr')
    assert result == ALL_REGISTERED


def test_without_autoload_register_does_it(tmp_path: Path) -> None:
    code = """
        import torch, sys
        assert not any(name.startswith('mulsr_plugin') for name in sys.modules)
        import mulsr_plugin
        assert 'basicsr' not in sys.modules
        mulsr_plugin.register()
        mulsr_plugin.register()
    """
    result = shown(code, tmp_path, autoload=False)
    assert 'could not register' not in result.pop('stderr')
    assert result == ALL_REGISTERED


@pytest.mark.parametrize(('task', 'count'), [('loaders', 3), ('compile_worker', 1)])
def test_registered_in_child_processes(task: str, count: int, tmp_path: Path) -> None:
    (tmp_path / 'probe.py').write_text(PROBE)
    process = run_python('-c', f'import probe\nfor f in probe.{task}(): print(probe.json.dumps(f))', cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert [json.loads(line) for line in process.stdout.splitlines()] == [EXPECTED] * count


def test_registered_under_torchrun(tmp_path: Path) -> None:
    (tmp_path / 'probe.py').write_text(PROBE)
    arguments = ['--nproc_per_node=2', '--rdzv_backend=c10d', '--rdzv_endpoint=localhost:0', 'probe.py']
    process = run_python('-m', 'torch.distributed.run', *arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert [json.loads((tmp_path / f'rank_{rank}.json').read_text()) for rank in range(2)] == [EXPECTED] * 2


def test_hook_imports_nothing_else(tmp_path: Path) -> None:
    code = """
        import sys
        before = set(sys.modules)
        from mulsr_plugin.autoload import install
        install()
        install()
        assert set(sys.modules) - before <= {'__future__', 'mulsr_plugin', 'mulsr_plugin.autoload'}, sys.modules
        assert sum(type(finder).__name__ == 'HostFinder' for finder in sys.meta_path) == 1
    """
    process = run_python('-c', dedent(code), cwd=tmp_path)
    assert process.returncode == 0, process.stderr


def test_torch_without_basicsr(tmp_path: Path) -> None:
    code = """
        import sys
        sys.modules['basicsr'] = None  # as if it were not installed
        import torch
        assert 'mulsr_plugin.autoload' in sys.modules
        import mulsr_plugin
        try:
            mulsr_plugin.register()
        except ImportError as error:
            print(error)
    """
    process = run_python('-c', dedent(code), cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert 'BasicSR is not installed' in process.stdout and 'install_basicsr' in process.stdout


def test_failed_registration_hurts_only_those_who_ask(tmp_path: Path) -> None:
    code = """
        import sys
        sys.modules['mulsr_plugin.models.validation'] = None  # a module of ours that cannot be imported
        import torch
        import basicsr
        from basicsr.archs import build_network
        from basicsr.models import build_model
        build_network({'type': 'MSRResNet'})
        build_network({'type': 'MulSR', 'num_feat': 8})  # was registered before the failure
        try:
            build_model({'model_type': 'MulSRModel'})
        except ImportError as error:
            assert "'MulSRModel' is not available" in str(error) and 'mulsr_plugin.models.validation' in str(error)
            assert isinstance(error.__cause__, ModuleNotFoundError)
        else:
            raise AssertionError('no error')
        import importlib
        importlib.reload(basicsr.models)
    """
    result = shown(code, tmp_path)
    assert result['names'] == EXPECTED
    assert result['stand_ins'] == EXPECTED['model']
    # one traceback at the first attempt, one at the reload
    assert result['stderr'].count('mulsr_plugin could not register') == 2

    heal = "\ndel sys.modules['mulsr_plugin.models.validation']\nimport mulsr_plugin\nmulsr_plugin.register()"
    assert shown(dedent(code) + heal, tmp_path)['stand_ins'] == []


def test_class_of_a_module_that_failed_later_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    entries = autoload.registries()['arch']._obj_map
    monkeypatch.setitem(entries, 'MulSR', entries['MulSR'])
    monkeypatch.delitem(sys.modules, 'mulsr_plugin.archs.mulsr_arch')
    autoload._stand_in(RuntimeError('broken off'))
    with pytest.raises(ImportError, match='RuntimeError: broken off'):
        entries['MulSR']()


def test_clash_names_both_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    foreign = type('MulSR', (), {'__module__': 'somebody.archs.mulsr_arch'})
    monkeypatch.setitem(autoload.registries()['arch']._obj_map, 'MulSR', foreign)
    with pytest.raises(
        ValueError, match=r"'MulSR' of mulsr_plugin\.archs\.mulsr_arch .* by somebody\.archs\.mulsr_arch"
    ):
        register()


def test_reloads_are_harmless() -> None:
    import basicsr.models

    register()
    before = {kind: dict(iter(registry)) for kind, registry in autoload.registries().items()}
    importlib.reload(autoload)
    autoload.install()
    importlib.reload(basicsr.models)
    assert {kind: dict(iter(registry)) for kind, registry in autoload.registries().items()} == before
    assert sum(type(finder).__name__ == 'HostFinder' for finder in sys.meta_path) == 1
    assert type(basicsr.models.__spec__.loader).__name__ == 'SourceFileLoader'


def test_missing_torchvision_module_is_an_alias() -> None:
    autoload.install()
    functional = importlib.import_module('torchvision.transforms.functional')
    name = 'torchvision.transforms.functional_tensor'
    if PathFinder.find_spec(name, importlib.import_module('torchvision.transforms').__path__) is None:
        assert importlib.import_module(name) is functional
    assert functional.__spec__.name == 'torchvision.transforms.functional'


@pytest.mark.skipif(sys.version_info < (3, 12), reason='this Python has distutils')
def test_setuptools_that_came_after_the_start_lends_distutils(tmp_path: Path) -> None:
    as_before = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'DistutilsMetaFinder']"
    done = run_python('-c', f'{as_before}; import mulsr_plugin; mulsr_plugin.register(); {SHOW}', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ALL_REGISTERED


def test_present_torchvision_module_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Torchvision:
        def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
            return ModuleSpec(fullname, None) if fullname == autoload.FUNCTIONAL_TENSOR else None

    monkeypatch.setattr(sys, 'meta_path', [autoload.HostFinder(), Torchvision()])
    assert autoload.HostFinder().find_spec(autoload.FUNCTIONAL_TENSOR) is None


def test_vanished_package_stops_torch_and_the_switch_helps(tmp_path: Path) -> None:
    info = tmp_path / 'vanished-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: vanished\nVersion: 1.0\n')
    (info / 'entry_points.txt').write_text('[torch.backends]\nvanished = vanished.autoload:install\n')
    process = run_python('-c', 'import torch', cwd=tmp_path, path=tmp_path)
    assert process.returncode == 1
    assert 'Failed to load the backend extension: vanished' in process.stderr
    assert run_python('-c', 'import torch', cwd=tmp_path, path=tmp_path, autoload=False).returncode == 0


@pytest.mark.skipif('MULSR_PLUGIN_BASICSR_MASTER' not in os.environ, reason='no checkout of BasicSR is named')
@pytest.mark.parametrize('code', ['import torch, basicsr', 'import basicsr', 'import mulsr_plugin.archs.mulsr_arch'])
def test_basicsr_of_its_repository(code: str, tmp_path: Path) -> None:
    package = tmp_path / 'basicsr'
    shutil.copytree(Path(os.environ['MULSR_PLUGIN_BASICSR_MASTER']) / 'basicsr', package)
    (package / 'version.py').write_text("__version__ = 'master'\n__gitsha__ = 'unknown'\n")
    check = f'\nassert basicsr.__path__[0] == {str(package)!r}, basicsr.__path__'
    result = shown(f'{code}\nimport basicsr{check}', tmp_path, path=tmp_path)
    assert 'could not register' not in result.pop('stderr')
    assert result == ALL_REGISTERED
