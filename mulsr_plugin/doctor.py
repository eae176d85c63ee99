"""Say what is installed, whether BasicSR sees the plugin, and whether data fit an option file.

Run ``mulsr doctor [-opt FILE]`` or ``python -m mulsr_plugin.doctor``. Every finding is one line; a problem is followed
by one line of advice. The exit code is 1 if there is a problem and 0 otherwise.

If ``import torch`` itself fails with "Failed to load the backend extension: mulsr_plugin", the folder of an editable
install has been moved or deleted: torch finds the entry point but not the package. Any of these cures it:

- ``pip install -e .`` in the folder where the clone lies now;
- ``pip uninstall mulsr-plugin``;
- the environment variable ``TORCH_DEVICE_BACKEND_AUTOLOAD=0``, which switches all such extensions of torch off.

Started in the new place of the clone, this program finds that out, for it looks at the installation before it imports
torch.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
from copy import deepcopy
from importlib import import_module
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mulsr_plugin import __version__, autoload
from mulsr_plugin.cli.running import run_command

SWITCH = 'TORCH_DEVICE_BACKEND_AUTOLOAD'
OWN_DOOR = '`python -m mulsr_plugin.train -opt FILE` works without it'
OPTIONAL = {
    'h5py': ('formats', '.mat files of version 7.3'),
    'rasterio': ('formats', 'ENVI and TIFF files'),
    'safetensors': ('formats', 'weights in that form'),
    'matplotlib': ('plots', 'plots'),
}


class Report:
    """Findings, printed as they come: the program may not survive the next import.

    Attributes:
        num_problems (int): Problems so far.
    """

    def __init__(self) -> None:
        self.num_problems = 0

    def section(self, title: str) -> None:
        """Start a group of findings."""
        self._say(f'\n{title}')

    def good(self, finding: str) -> None:
        """Add a finding that is as it should be."""
        self._say(f'  ok       {finding}')

    def note(self, finding: str) -> None:
        """Add a finding that is worth knowing and no problem."""
        self._say(f'  note     {finding}')

    def problem(self, finding: str, advice: str) -> None:
        """Add a problem and what to do about it."""
        self.num_problems += 1
        self._say(f'  PROBLEM  {finding}\n           -> {advice}')

    def _say(self, text: str) -> None:
        print(text, flush=True)  # this module is a command line


def check_installation(report: Report) -> None:
    """Compare the running package with the installed one; imports nothing that could fail."""
    running = Path(__file__).resolve().parent
    report.good(f'Python {sys.version.split()[0]}, {sys.executable}')
    report.good(f'mulsr_plugin {__version__}, {running}')
    # A folder mulsr_plugin.egg-info, left in the repository by a build, has no RECORD and is not an installation.
    found = (each for each in distributions(name='mulsr-plugin') if each.read_text('RECORD') is not None)
    installed = next(found, None)
    if installed is None:
        report.problem(
            "mulsr-plugin is not installed, so BasicSR's own train.py and test.py cannot find it.",
            f'Run `{sys.executable} -m pip install -e {running.parent}`; {OWN_DOOR}.',
        )
        return
    source = _editable_folder(installed)
    if source is not None and not (source / 'mulsr_plugin').is_dir():
        report.problem(
            f'The editable install points to {source}, which is gone; elsewhere `import torch` fails because of it.',
            f'Run `{sys.executable} -m pip install -e {running.parent}`, or `pip uninstall mulsr-plugin`.',
        )
    elif source is not None and source.resolve() != running.parent:
        report.problem(
            f'The editable install points to {source}, but {running} is running.',
            f'Work in {source}, or run `{sys.executable} -m pip install -e {running.parent}`.',
        )
    else:
        report.good(f'installed{"" if source is None else " editable"}, version {installed.version}')


def check_torch(report: Report) -> bool:
    """Check torch, torchvision, the GPU and the autoload; return whether torch can be imported."""
    if not (_check_import(report, 'torch') and _check_import(report, 'torchvision')):
        return False
    import torch

    if autoload.is_installed():
        report.good('autoload is on: BasicSR will load the plugin')
    elif os.environ.get(SWITCH, '1') == '0':
        report.note(f"autoload is switched off by {SWITCH}=0: BasicSR's own train.py lacks the plugin; {OWN_DOOR}.")
    else:
        report.problem(
            'autoload is off: torch did not call the entry point of the plugin.',
            f'Use torch 2.5 or newer and `pip install` the plugin into this Python; {OWN_DOOR}.',
        )
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
        report.good(f'{torch.cuda.device_count()} GPU: {", ".join(sorted(names))}')
    else:
        report.note('no GPU: networks run on the CPU, so num_gpu in the option file must be 0 or auto')
    return True


def check_bfloat16(report: Report) -> None:
    """Measure whether bfloat16 is faster than float32 on this machine."""
    import torch
    from torch import nn

    from mulsr_plugin.models.precision_choice import time_precisions

    timing = time_precisions(nn.Conv2d(64, 64, 3, padding=1), 'cuda' if torch.cuda.is_available() else 'cpu')
    if timing.chosen == 'bf16':
        report.good(f'precision: bf16 is faster than fp32: {timing}')
    else:
        report.note(f'precision: bf16 is no faster than fp32 ({timing}): write auto or fp32 in option files')


def check_names(report: Report) -> bool:
    """Check that BasicSR can be imported and holds all our names; return whether it does."""
    if not _check_import(report, 'basicsr'):
        return False
    problems = report.num_problems
    for kind, registry in autoload.registries().items():
        _check_registry(report, kind, dict(iter(registry)))
    return report.num_problems == problems


def check_optional(report: Report) -> None:
    """Name the optional libraries that are missing."""
    for name, (extra, purpose) in OPTIONAL.items():
        if find_spec(name) is not None:
            report.good(f'{name}, for {purpose}')
        else:
            report.note(f"{name} is missing; for {purpose} run `pip install 'mulsr-plugin[{extra}]'`")


def check_option_file(report: Report, path: str) -> None:
    """Open the data sets of an option file and compare them with its options."""
    import yaml

    from mulsr_plugin.utils.options import find_option_file

    try:
        options = yaml.safe_load(find_option_file(path).read_text(encoding='utf-8'))
        datasets = dict(options['datasets'])
    except FileNotFoundError:
        report.problem(f'{path} does not exist.', 'Correct the path; `mulsr options` lists those of the plugin.')
        return
    except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:
        report.problem(
            f'{path} is not an option file: {" ".join(str(error).split())}', 'Compare it with one of `mulsr options`.'
        )
        return
    before = report.num_problems
    _check_model(report, options)
    for name, block in datasets.items():
        if not isinstance(block, dict) or block.get('type') not in autoload.NAMES['dataset']:
            report.note(f'{name}: not a data set of this plugin, not checked')
            continue
        # as BasicSR completes the block
        shared = {'scale': options['scale']} if 'scale' in options else {}
        _check_data_set(report, name, {**block, 'phase': name.split('_')[0], **shared}, options.get('network_g') or {})
    if report.num_problems == before and options.get('model_type') in autoload.NAMES['model']:
        _rehearse(report, options)


def examine(option_file: str | None = None) -> int:
    """Print all findings.

    Args:
        option_file: Path of an option file, or the name of a shipped one, whose data sets are checked too. Default:
            None.

    Returns:
        Exit code: 1 if there is a problem, else 0.
    """
    report = Report()
    report.section('Installation')
    check_installation(report)
    report.section('PyTorch')
    if check_torch(report):
        report.section('BasicSR')
        complete = check_names(report)
        report.section('Optional libraries')
        check_optional(report)
        if complete:
            report.section('Speed')
            check_bfloat16(report)
        if option_file is not None:
            report.section(f'Options and data of {option_file}')
            if complete:
                check_option_file(report, option_file)
            else:
                report.note('not checked, because names are missing')
    found = report.num_problems
    report.section(f'{found} problem{"s" * (found > 1)} found.' if found else 'No problems found.')
    return int(found > 0)


def main() -> int:
    """Run the command ``mulsr doctor`` with the arguments of the process."""
    return run_command('doctor', 'doctor', sys.argv[1:])


def _editable_folder(installed: Distribution) -> Path | None:
    """Return the folder that an editable install points to, or None for an ordinary one."""
    origin = json.loads(installed.read_text('direct_url.json') or '{}')
    if not origin.get('dir_info', {}).get('editable'):
        return None
    return Path(url2pathname(urlsplit(origin['url']).path))


def _check_import(report: Report, name: str) -> bool:
    """Import a library and report its version and place; basicsr registers the plugin even with autoload off."""
    try:
        if name == 'basicsr':
            autoload.import_host()
        module = import_module(name)
    except Exception as error:  # a broken library may raise anything
        cause = error.__cause__ or error
        report.problem(f'`import {name}` fails: {error} ({type(cause).__name__}: {cause})', _advice(cause, name))
        return False
    report.good(f'{name} {getattr(module, "__version__", "of unknown version")}, {_place(module)}')
    return True


def _place(module: Any) -> str:
    folder = Path(module.__file__).parent
    real = folder.resolve()
    return str(folder) if folder == real else f'{folder} -> {real}'


def _check_registry(report: Report, kind: str, entries: dict[str, Any]) -> None:
    """Report which of our names are registered, missing, or taken by somebody else."""
    names, taken = autoload.NAMES[kind], {}
    for name in entries.keys() & names.keys():
        if not entries[name].__module__.startswith('mulsr_plugin.'):
            taken[name] = entries[name].__module__
    missing = [name for name in names if name not in entries or autoload.stand_in_cause(entries[name])]
    good = [name for name in names if name not in missing and name not in taken]
    if good:
        report.good(f'{kind}: {", ".join(good)}')
    if missing:
        cause = next((autoload.stand_in_cause(entries[name]) for name in missing if name in entries), None)
        reason = f', because of {type(cause).__name__}: {cause}' if cause else ''
        report.problem(f'{kind}: {", ".join(missing)} not registered{reason}', _advice(cause))
    for name, module in taken.items():
        report.problem(f'{kind}: {name} is registered by {module}', 'Remove that package or rename its class.')


def _advice(cause: BaseException | None, name: str = 'mulsr-plugin') -> str:
    if isinstance(cause, ModuleNotFoundError) and cause.name == 'basicsr':
        return f'Run `{sys.executable} -m mulsr_plugin.install_basicsr`.'
    if isinstance(cause, ModuleNotFoundError) and cause.name and not cause.name.startswith('mulsr_plugin'):
        return f'Run `{sys.executable} -m pip install {cause.name.partition(".")[0]}`.'
    if isinstance(cause, ValueError):
        return 'Do as the sentence above says; no file of this plugin or of BasicSR needs to be edited.'
    return f'Run `{sys.executable} -m pip install --force-reinstall --no-deps {name}`.'


def _check_model(report: Report, options: dict[str, Any]) -> None:
    """Check the blocks for one of our models as it will itself."""
    import torch
    from basicsr.utils.registry import MODEL_REGISTRY

    from mulsr_plugin.models.schema import check_model_options

    if options.get('model_type') not in autoload.NAMES['model']:
        report.note(f'model_type {options.get("model_type")}: not a model of this plugin, its options are not checked')
        return
    gpus = options.get('num_gpu')
    if isinstance(gpus, int) and gpus > 0 and not torch.cuda.is_available():
        report.problem(f'num_gpu is {gpus}, but PyTorch sees no GPU', 'set num_gpu: 0 or auto.')
    try:
        rules = MODEL_REGISTRY.get(options['model_type']).train_rules
        check_model_options({**options, 'is_train': 'train' in options}, rules)
    except (ValueError, KeyError, TypeError) as error:
        report.problem(f'{options["model_type"]}: {error}', 'correct the option file.')
    else:
        report.good(f'options of {options["model_type"]}')
        _check_precision(report, options)


def _check_precision(report: Report, options: dict[str, Any]) -> None:
    """Measure what the precision of an option file costs with its network on this machine."""
    import torch
    from basicsr.archs import build_network

    from mulsr_plugin.models.precision_choice import AUTO, time_precisions

    wanted = {name: (options.get(name) or {}).get('precision') for name in ('train', 'val')}
    if not {AUTO, 'bf16'} & {*wanted.values()}:
        return
    on_gpu = options.get('num_gpu') != 0 and torch.cuda.is_available()
    timing = time_precisions(build_network(deepcopy(options['network_g'])), 'cuda' if on_gpu else 'cpu')
    for name, precision in wanted.items():
        if precision == AUTO:
            report.good(f'{name}: precision: auto is {timing.chosen} here: {timing}')
        elif precision == 'bf16' and not timing.is_bearable('bf16'):
            report.problem(
                f'{name}: precision: bf16 is {timing.bf16 / timing.fp32:.1f} times slower than fp32 on this machine: '
                f'{timing}',
                f'write {name}: precision: auto.',
            )


def _rehearse(report: Report, options: dict[str, Any]) -> None:
    """Try the run out as the launchers do before they make anything."""
    from mulsr_plugin.training.rehearsal import rehearse

    try:
        rehearse({**options, 'is_train': 'train' in options}, stock_script=True)
    except (ValueError, OSError, ImportError) as error:
        finding, _, advice = str(error).rpartition('; ')
        report.problem(finding or str(error), advice if finding else 'Correct the option file.')
    else:
        report.good('the run was tried out: network, weights, a training sample, every metric')


def _check_data_set(report: Report, name: str, block: dict[str, Any], network: dict[str, Any]) -> None:
    dataset_class = autoload.registries()['dataset'].get(block['type'])
    logging.disable(logging.INFO)  # what the data set logs is reported below
    try:
        dataset = dataset_class(block)
        sample = dataset[0]
    except Exception as error:  # the message of a wrong option or a damaged store is the finding
        finding, _, advice = str(error).rpartition('; ')
        fallback = f'Correct {name} in the option file, or prepare its data again.'
        report.problem(f'{name}: {finding or error}', advice if finding else fallback)
        return
    finally:
        logging.disable(logging.NOTSET)
    report.good(f'{name}: {dataset.describe()}')
    shapes = ', '.join(f'{key} {tuple(value.shape)}' for key, value in sample.items() if hasattr(value, 'shape'))
    report.good(f'{name}: first sample {shapes}')
    _check_network_fits(report, name, dataset, network)


def _check_network_fits(report: Report, name: str, dataset: Any, network: dict[str, Any]) -> None:
    """Compare scale and guide channels of a data set with what the network is built for."""
    upscale = _network_option(network, 'upscale')
    if upscale is not None and dataset.scale not in (upscale if isinstance(upscale, (list, tuple)) else [upscale]):
        report.problem(
            f'{name}: the data are for scale {dataset.scale}, but network_g has upscale: {upscale}.',
            'Make scale (or upscale of the data set) and upscale of network_g equal.',
        )
    guides = _network_option(network, 'num_guide_ch')
    if guides is not None and guides != dataset.num_guide_ch:
        report.problem(
            f'{name}: the guide has {dataset.num_guide_ch} channels, but network_g has num_guide_ch: {guides}.',
            f'Write num_guide_ch: {dataset.num_guide_ch} under network_g, or choose another spectral_response.',
        )


def _network_option(network: dict[str, Any], key: str) -> Any:
    """Return an option of the network, given or default; None if it has no such option."""
    registry = autoload.registries()['arch']
    if key in network or network.get('type') not in registry:
        return network.get(key)
    parameter = inspect.signature(registry.get(network['type'])).parameters.get(key)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


if __name__ == '__main__':
    sys.exit(main())
