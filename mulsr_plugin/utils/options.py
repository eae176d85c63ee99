"""Checks of option-file blocks: every mistake becomes one sentence before anything is built."""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

LARGEST_INTEGER = 2**31 - 1
LARGEST_NUMBER = 1e30
"""No option needs more, and beyond 64 bits or float32 PyTorch and NumPy fail in their own ways."""

LARGEST_OF_NETWORK = 2**16
"""Nor a channel count, depth or scale; a network of 10**30 modules would be built until the memory is full."""


class RunError(ValueError):
    """A run that has begun cannot go on, for a reason that its user can change."""


class Rule(NamedTuple):
    """What one option may be.

    Attributes:
        accepts: Tells whether a value is legal.
        expected: The legal values in words, to follow 'expected'.
        may_be_none: Whether None (``~``) is legal too and stands for 'not given'.
    """

    accepts: Callable[[Any], bool]
    expected: str
    may_be_none: bool = True


def check_keys(block: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Refuse a key that is not one of ``allowed``.

    Args:
        block: Options as read from YAML.
        allowed: Legal keys.
        where: Name of the block in the option file, for the message.

    Raises:
        ValueError: The block is not a mapping, or a key is unknown; the message suggests the closest legal key.
    """
    _check_is_block(block, where)
    names = sorted(name for name in allowed if isinstance(name, str))
    for key in block:
        if key not in names or not isinstance(key, str):
            close = difflib.get_close_matches(str(key), names, n=1)
            hint = f'did you mean {close[0]!r}?' if close else f'known options are {", ".join(names)}.'
            raise ValueError(f'Unknown option {key!r} in {where}; {hint}')


def check_block(block: Mapping[str, Any], rules: Mapping[str, Rule], where: str) -> None:
    """Check the keys and the values of one block.

    Raises:
        ValueError: A key is unknown or a value is not what its rule expects.
    """
    check_keys(block, rules, where)
    for key, value in block.items():
        rule = rules[key]
        if not (rule.may_be_none if value is None else rule.accepts(value)):
            raise ValueError(
                f'{where}: {key} is {value!r}, expected {rule.expected}{_yaml_float_hint(value)}; correct it.'
            )


def require(block: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Refuse a block that lacks one of ``keys``.

    Raises:
        ValueError: The block is not a mapping, or a key is absent or None.
    """
    _check_is_block(block, where)
    for key in keys:
        if block.get(key) is None:
            raise ValueError(f'{where} has no {key!r}, which is needed; add it.')


def _check_is_block(block: Any, where: str) -> None:
    if not isinstance(block, Mapping):
        raise ValueError(f'{where} is {block!r}, expected a block of options; write it as indented "key: value" lines.')


def check_constructor_options(block: Mapping[str, Any], constructor: Callable[..., Any], where: str) -> None:
    """Check ``block`` (without ``type``) against the parameters of the class that it will be passed to.

    Values are checked as far as defaults show what they are: true or false, a text, or a number with a fraction. Whole
    numbers are bounded by ``LARGEST_OF_NETWORK``.

    Raises:
        ValueError: A key is not a parameter of the class, a parameter without default is missing, or a value is wrong.
    """
    parameters = inspect.signature(constructor).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    check_keys(block, [*parameters, 'type'], where)
    require(block, [n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_POSITIONAL], where)
    rules = {key: _KINDS.get(type(parameters[key].default), _BOUNDED) for key in block if key != 'type'}
    check_block({key: block[key] for key in rules}, rules, where)


@contextmanager
def building(where: str) -> Iterator[None]:
    """Make one sentence of any error that a class raises within the block because of its options.

    Args:
        where: Name of the block of options, for the message.

    Raises:
        ValueError: For whatever was raised.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f'{where}: {" ".join(str(error).split())}') from error
    except Exception as error:
        reason = ''.join(str(error).strip().splitlines()[:1])
        raise ValueError(
            f'{where}: nothing can be built from these options ({type(error).__name__}: {reason}); correct them in the '
            'option file.'
        ) from error


def integer(minimum: int = 0) -> Rule:
    """Accept a whole number of at least ``minimum``, below 2**31."""
    return Rule(
        lambda v: isinstance(v, int) and not isinstance(v, bool) and minimum <= v <= LARGEST_INTEGER,
        f'a whole number of at least {minimum} and below 2**31',
    )


def number(low: float = 0.0, high: float = math.inf) -> Rule:
    """Accept a number from ``low`` to ``high``, of a magnitude up to 1e30."""
    bound = f'from {low:g} to {high:g}' if math.isfinite(high) else f'of at least {low:g}'
    return Rule(
        lambda v: _is_number(v) and low <= v <= high,
        f'a number {bound}',
    )


def choice(*values: str) -> Rule:
    """Accept one of the words given."""
    return Rule(lambda v: isinstance(v, str) and v in values, 'one of ' + ', '.join(values))


def list_of(rule: Rule) -> Rule:
    """Accept a non-empty list whose items all follow ``rule``."""
    return Rule(
        lambda v: isinstance(v, (list, tuple)) and len(v) > 0 and all(rule.accepts(i) for i in v),
        f'a list in which each item is {rule.expected}',
    )


def given(rule: Rule) -> Rule:
    """Accept what ``rule`` accepts, but not None: for options whose reader has no default for it."""
    return rule._replace(may_be_none=False)


def either(first: Rule, second: Rule) -> Rule:
    """Accept what one of two rules accepts."""
    return Rule(lambda v: first.accepts(v) or second.accepts(v), f'{first.expected}, or {second.expected}')


BOOLEAN = Rule(lambda v: isinstance(v, bool), 'true or false')
NAME = Rule(
    lambda v: isinstance(v, str) and bool(v) and not set(v) & set('/\\\0') and v not in ('.', '..'),
    'a name without slashes, for it becomes part of file names',
)
TEXT = Rule(lambda v: isinstance(v, str) and bool(v), 'a text')
BLOCK = Rule(lambda v: isinstance(v, Mapping), 'a block of options')
ANYTHING = Rule(lambda v: True, 'anything')

_KINDS: dict[type, Rule] = {
    bool: given(BOOLEAN),
    float: Rule(lambda v: _is_number(v), 'a number', may_be_none=False),
    str: Rule(lambda v: isinstance(v, str), 'a text', may_be_none=False),
}
_BOUNDED = Rule(lambda v: not isinstance(v, int) or abs(v) <= LARGEST_OF_NETWORK, f'at most {LARGEST_OF_NETWORK}')


def _is_number(value: Any) -> bool:
    """Distinguish numbers from truth values, NaN, infinity and what float32 cannot square."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def _yaml_float_hint(value: Any) -> str:
    """YAML 1.1 reads 1e-4 as a text: say how BasicSR's option files write it."""
    try:
        float(value)
    except (TypeError, ValueError):
        return ''
    return f' (YAML reads {value} as a text: write !!float {value})' if isinstance(value, str) else ''


def shipped_options() -> dict[str, Path]:
    """Return the option files that come with the package, by name: ``train_mulsr_cave_x8``, ``ablation/...``."""
    package = Path(__file__).parent.parent
    folder = package / 'options'  # in a wheel
    if not folder.is_dir():
        folder = package.parent / 'options'
    files = sorted([*folder.glob('*.yml'), *folder.glob('ablation/*.yml')])
    return {path.relative_to(folder).with_suffix('').as_posix(): path for path in files}


def shipped_option_file(name: str | os.PathLike[str]) -> Path:
    """Return the path of an option file that comes with the package.

    Args:
        name: Its name, with or without folder (``options/`` too) and suffix ``.yml``.

    Raises:
        FileNotFoundError: There is no such file; the message suggests the closest name.
    """
    wanted = Path(name).as_posix().removesuffix('.yml').removeprefix('options/')
    files = shipped_options()
    by_name = {**{key.rpartition('/')[2]: path for key, path in files.items()}, **files}
    if wanted in by_name:
        return by_name[wanted]
    close = difflib.get_close_matches(wanted, by_name, n=1)
    advice = f'did you mean {close[0]}?' if close else 'correct it.'
    raise FileNotFoundError(
        f'There is no option file {name}, and none of that name comes with the plugin (`mulsr options` lists those); '
        f'{advice}'
    )


def find_option_file(name: str | os.PathLike[str]) -> Path:
    """Return the path of an option file: a file of this name, else one that comes with the package.

    Args:
        name: Path, or name as of :func:`shipped_option_file`.

    Raises:
        FileNotFoundError: There is neither.
    """
    path = Path(name).expanduser()
    return path if path.exists() else shipped_option_file(name)


def read_option_file(path: str | os.PathLike[str], *blocks: str) -> dict[str, Any]:
    """Read an option file in BasicSR's form.

    Args:
        path: YAML file.
        *blocks: Names that it must have at its top.

    Returns:
        Its options, unchecked but for that.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a YAML file, or lacks one of the ``blocks``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no option file {path}; `mulsr options` lists those that ship with the plugin.'
        )
    try:
        opt = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f'{path} is not a YAML file ({" ".join(str(error).split())}); correct that place.') from error
    if not isinstance(opt, dict):
        raise ValueError(f'{path} holds no block of options; write "key: value" lines, as in those of `mulsr options`.')
    missing = [name for name in blocks if name not in opt]
    if missing:
        raise ValueError(f'{path} has no {missing[0]}; give an option file like those of `mulsr options`.')
    return opt
