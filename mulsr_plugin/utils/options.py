"""Checks of option-file blocks: every mistake becomes one sentence before anything is built."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any, Callable, NamedTuple


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
        ValueError: The block is no mapping, or a key is unknown; the message suggests the closest legal key.
    """
    if not isinstance(block, Mapping):
        raise ValueError(f'{where} is {block!r}, expected a block of options; write it as indented "key: value" lines.')
    names = sorted(allowed)
    for key in block:
        if key not in names:
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
                f'{where}: {key} is {value!r}, expected {rule.expected}{_yaml_float_hint(value)}; '
                'correct it in the option file.'
            )


def require(block: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Refuse a block that lacks one of ``keys``.

    Raises:
        ValueError: A key is absent or None.
    """
    for key in keys:
        if block.get(key) is None:
            raise ValueError(f'{where} has no {key!r}, which is needed; add it to the option file.')


def check_constructor_options(block: Mapping[str, Any], constructor: Callable[..., Any], where: str) -> None:
    """Check ``block`` (without ``type``) against the parameters of the class that it will be passed to.

    Raises:
        ValueError: A key is no parameter of the class, or a parameter without default is missing.
    """
    parameters = inspect.signature(constructor).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    check_keys(block, [*parameters, 'type'], where)
    require(block, [n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_POSITIONAL], where)


def integer(minimum: int = 0) -> Rule:
    """Accept a whole number of at least ``minimum``."""
    return Rule(
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= minimum,
        f'a whole number of at least {minimum}',
    )


def number(low: float = 0.0, high: float = math.inf) -> Rule:
    """Accept a finite number from ``low`` to ``high``."""
    bound = f'from {low:g} to {high:g}' if math.isfinite(high) else f'of at least {low:g}'
    return Rule(
        lambda v: isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) and low <= v <= high,
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
TEXT = Rule(lambda v: isinstance(v, str) and bool(v), 'a text')
BLOCK = Rule(lambda v: isinstance(v, Mapping), 'a block of options')
ANYTHING = Rule(lambda v: True, 'anything')


def _yaml_float_hint(value: Any) -> str:
    """YAML 1.1 reads 1e-4 as a text: say how BasicSR's option files write it."""
    try:
        float(value)
    except (TypeError, ValueError):
        return ''
    return f' (YAML reads {value} as a text: write !!float {value})' if isinstance(value, str) else ''
