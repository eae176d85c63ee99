"""The parser of every command: old spellings are accepted, and an unknown option gets a suggestion."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn


class CommandParser(argparse.ArgumentParser):
    """A parser with options under earlier names, which its help leaves out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._new_names: dict[str, str] = {}

    def accept_old_names(self, new_names: Mapping[str, str]) -> None:
        """Accept options under other names as well, such as ``{'--output': '--out'}``; the help leaves them out."""
        self._new_names.update(new_names)

    def error(self, message: str) -> NoReturn:
        """Print a mistake in one line, without the list of all options before it, and exit with 2."""
        self.exit(2, f'{self.prog}: error: {message}\n')

    def present_names(self, words: Sequence[str]) -> list[str]:
        """Return a command line with the present name of every option."""
        return [self._renamed(word) for word in words]

    def parse_known_args(  # type: ignore[override]  # of one signature only, as argparse itself calls it
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse as argparse does, after replacing old names and refusing unknown ones."""
        words = self.present_names(args or ())
        if self._subparsers is None:
            for word in words:
                self._refuse_unknown(word)
        return super().parse_known_args(words, namespace)

    def _renamed(self, word: str) -> str:
        name, equals, value = word.partition('=')
        return f'{self._new_names.get(name, name)}{equals}{value}'

    def _refuse_unknown(self, word: str) -> None:
        name = word.partition('=')[0]
        known = self._option_string_actions
        if not name.startswith('--') or name == '--' or any(option.startswith(name) for option in known):
            return
        close = difflib.get_close_matches(name, [*known, *self._new_names], n=1)
        advice = f'did you mean {self._renamed(close[0])}?' if close else f'see `{self.prog} --help`.'
        self.error(f'unknown option {name}; {advice}')
