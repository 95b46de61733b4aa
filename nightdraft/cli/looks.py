"""Records whom a command shows: what it read of patients is in the trail before it is printed."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from records.actors import Actor, acting_as
from records.states import ActorKind, AuditAction

UNRECORDED = ("station", "listen", "work", "serve", "query", "retrieve", "demo", "bench")
"""Commands that run parts, which name themselves, and commands that show phantoms alone."""


def user_of_system() -> Actor:
    """Who runs this command: the user of this system, by the process's own user id."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may run as a user whom nobody has named
        name = str(uid)
    return Actor(ActorKind.COMMAND, name, str(uid))


@contextmanager
def recorded(command: str) -> Iterator[None]:
    """Let a command be done by the user of this system, and record whom it shows.

    Args:
        command: its name, for the entry.
    """
    from records.audit.looks import collect_looks

    output = sys.stdout
    with acting_as(user_of_system()), collect_looks():
        sys.stdout = cast(TextIO, _Recording(output, command))
        try:
            yield
        finally:
            sys.stdout = output


class _Recording:
    """A stream that records what was read of patients before it writes anything."""

    def __init__(self, stream: TextIO, command: str) -> None:
        self._stream = stream
        self._command = command

    def write(self, text: str) -> int:
        """Record, then write.

        Raises:
            DatabaseDown, SettingsError: it could not be recorded; nothing is written.
        """
        write_looks(self._command)
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        """Record, then write."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def write_looks(command: str, *, to_file: bool = False) -> None:
    """Record what was read of patients so far.

    Args:
        command: the command that shows it, or writes it to a file.
        to_file: whether it goes to a file.

    Raises:
        DatabaseDown, SettingsError: it could not be recorded.
    """
    from records.audit import looks

    action = AuditAction.EXPORT if to_file else AuditAction.VIEW
    looks.write_looks(f"nightdraft {command}", action)
