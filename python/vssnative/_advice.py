"""What to do about an error or a warning, said twice: for those who call Python, and for those who type commands."""

from __future__ import annotations

import os
from typing import NamedTuple


class Advice(NamedTuple):
    """One piece of advice in two wordings.

    Attributes:
        api: names functions of the Python API: ``"cancel_change it first"``.
        shell: names commands to type instead, see ``command``.
    """

    api: str
    shell: str


def command(name: str, *arguments: str, file: str | os.PathLike[str] | None = None) -> str:
    """A command of ``vssnative`` about a database file, to be typed as it is.

    Args:
        arguments: what follows the file, as the shell is to get it; quoted here where that is needed.
        file: None where it is not known yet: ``{file}`` stands for it.
    """
    place = "{file}" if file is None else quoted(os.fspath(file))
    return " ".join(["vssnative", name, place, *map(quoted, arguments)])


def quoted(text: str) -> str:
    """A text as the shell is to get it."""
    import shlex  # not before there is need: a connection comes without it

    return shlex.quote(text)


class Advised(Exception):
    """An exception or warning whose text ends in an advice.

    ``str()`` is for callers of Python; ``in_shell`` for the command line. Without an advice both are the message.
    """

    def __init__(self, message: str = "", *args: object, advice: Advice | None = None) -> None:
        super().__init__(message if advice is None else f"{message}; {advice.api}", *args)
        self.advice = advice

    def in_shell(self, file: str = "FILE") -> str:
        """The text with the advice for the command line.

        Args:
            file: the database file, as the shell knows it.
        """
        text = str(self)
        if self.advice is None:
            return text
        words = self.advice.shell.replace("{file}", quoted(file))
        return f"{text.removesuffix(self.advice.api)}{words}"
