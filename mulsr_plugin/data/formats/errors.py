"""The error of all readers of files."""

from __future__ import annotations

LONGEST_MESSAGE = 1000


class FormatError(ValueError):
    """A file is damaged, of another format, or does not hold what was asked for; one sentence for the user.

    Args:
        message (str): The sentence; names of damaged files in it may hold anything, so it is made printable and cut.
    """

    def __init__(self, message: str) -> None:
        text = ''.join(character if character.isprintable() else '?' for character in message)
        super().__init__(text if len(text) <= LONGEST_MESSAGE else f'{text[:LONGEST_MESSAGE]} ...')
