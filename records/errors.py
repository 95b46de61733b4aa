"""The errors of the records and of everything above them, in one tree.

    NightdraftError
    ├── SettingsError        a setting has a value that cannot be used
    ├── PartError            a part of the system is missing or sick; no study is to blame
    │   ├── DatabaseDown
    │   ├── BrokerDown
    │   ├── DiskFull
    │   ├── BundleUnusable
    │   ├── PortInUse
    │   └── WorkerSick       a worker stopped itself
    ├── CorpusError          a training corpus is not as it should be
    ├── MessageError         an order, a report or a message is not as it must be
    ├── TrainingStopped      a training run cannot go on
    ├── NotFound             no such study, request, hold or draft
    ├── FilmDamaged          a stored film is gone or changed on disk
    ├── FilmRemoved          retention removed a film's file
    ├── BackupError          a backup cannot be made or restored
    ├── NotAllowed           the records refuse this change
    ├── LoginRefused         login name, password or code are wrong, or there were too many attempts
    └── LostLease            somebody else has the request now; what was done for it is dropped

The docstring of each error says what a person can do about it. The DICOM listener, the web server
and the command translate errors into a DIMSE status, an HTTP status and an exit status.

An error class whose messages never name a patient says so by `safe_to_show = True`. The messages of
all other classes, those of other libraries among them, are not logged (`safe_text`).
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import ClassVar

_ROOT = Path(__file__).resolve().parent.parent


class NightdraftError(Exception):
    """Something failed in a way that is known."""

    safe_to_show: ClassVar[bool] = True
    """The message is written by us and names no patient, so it may be logged and shown."""


class SettingsError(NightdraftError):
    """A setting cannot be used. Correct the named variable; docs/operate/settings.md lists all."""


class PartError(NightdraftError):
    """A part of the system is missing or sick. `nightdraft doctor` says how to mend it."""


class TrailDamaged(NightdraftError):
    """Keep database and heads as they are; docs/operate/trail.md says what each finding means."""


class DatabaseDown(PartError):
    """PostgreSQL does not answer. Start it, or correct NIGHTDRAFT_DATABASE_URL."""


class BrokerDown(PartError):
    """Redis does not answer. Start it, or correct NIGHTDRAFT_REDIS_URL. No work is lost."""


class DiskFull(PartError):
    """The data folder's disk is full. Make room; receiving goes on by itself."""


class BundleUnusable(PartError):
    """The model's bundle is missing or damaged. Correct NIGHTDRAFT_BUNDLE, or copy it again."""


class PortInUse(PartError):
    """Another program has the port. Stop it, or choose another port."""


class WorkerSick(PartError):
    """The worker failed on several different studies in a row and stopped itself.

    Read the alarm (`nightdraft status`), mend the cause, then `nightdraft resume`.
    """


class CorpusError(NightdraftError):
    """A corpus cannot be read. `nightdraft corpus check NAME PATH` says what it holds."""


class MessageError(NightdraftError):
    """What was sent is not taken and changed nothing. Mend what is named, and send it again."""


class TrainingStopped(NightdraftError):
    """A training run cannot go on. Its last checkpoint is kept; the message says what to change."""


class NotFound(NightdraftError):
    """There is no such thing in the records. Check the UID or id."""


class FilmDamaged(NightdraftError):
    """Let its sender send the film again, or restore the file from a backup; both heal it."""


class FilmRemoved(NightdraftError):
    """Fetch the study again from the PACS, as a campaign does; its rows are still here."""


class BackupError(NightdraftError):
    """A backup cannot be made or restored; the message says why, and what was changed."""


class NotAllowed(NightdraftError):
    """The records refuse this change: the thing is not in a state that allows it."""


class TextChanged(NotAllowed):
    """Somebody else saved meanwhile: compare both texts, and save again with the newer version."""


class LoginRefused(NightdraftError):
    """Try again, or ask an administrator for a new link (`nightdraft account reset`).

    Attributes:
        wait_seconds: for how long every further attempt is refused; 0.0 where one may be made now.
    """

    def __init__(self, sentence: str, wait_seconds: float = 0.0) -> None:
        super().__init__(sentence)
        self.wait_seconds = wait_seconds


class TokenRefused(LoginRefused):
    """Correct what is wrong with the request, and send it again (`docs/operate/accounts.md`).

    Attributes:
        code: which error it is (RFC 6749, section 5.2).
    """

    def __init__(self, code: str, sentence: str, wait_seconds: float = 0.0) -> None:
        super().__init__(sentence, wait_seconds)
        self.code = code


class LostLease(NightdraftError):
    """The lease has passed to somebody else; nothing was written. Nothing has to be done."""


def is_safe_to_show(error: BaseException) -> bool:
    """Whether the error's class promises that its message names no patient."""
    return getattr(type(error), "safe_to_show", False) is True


def safe_text(error: BaseException) -> str:
    """What happened, in words that cannot hold a patient's data.

    Args:
        error: any error, ours or another library's.

    Returns:
        The message where the error's class says `safe_to_show = True`. Other messages may quote
        values (a database error quotes the row), so of them only the type and the last place in our
        own code are given.
    """
    if is_safe_to_show(error):
        return str(error) or type(error).__name__
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_ROOT) and "site-packages" not in path.parts:
            place = f" at {path.relative_to(_ROOT)}:{frame.lineno}"
    return f"{type(error).__name__}{place}"
