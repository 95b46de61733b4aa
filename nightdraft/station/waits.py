"""What the station waits for: room on the disk, a server that starts, a part that cannot start.

Each wait is one line in the station's log when it begins and one when it ends, an entry of the
file that `nightdraft doctor` reads, and an alarm once the database answers.

    <data_dir>/run/waits.json   sentences by name; of a fixed size, so that it can be written in
                                place while the disk is full
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from records.alarm_kinds import AlarmKind
from records.errors import NightdraftError, safe_text

WAITS = "run/waits.json"
"""Under the data folder: what the station on it waits for."""

_FILE_BYTES = 4096

_LOOK_SECONDS = 3.0
"""Seconds between two looks at the disk and at the servers."""

_ALARM_PREFIX = "station waits for "

DISK = "disk"
"""The name of the wait for room on the disk, of which the listener keeps the alarm."""


class Waits:
    """What the station waits for, by name; any thread may begin and end a wait.

    Args:
        file: The file that is kept; None keeps none.
        log: Gets one line where a wait begins and one where it ends.
    """

    def __init__(self, file: Path | None, log: Callable[[str], None]) -> None:
        self._file = file
        self._log = log
        self._sentences: dict[str, str] = {}
        self._lock = threading.Lock()
        self._written = ""

    def begin(self, name: str, sentence: str) -> None:
        """Note that something is waited for; a wait that goes on gets its newest sentence."""
        with self._lock:
            is_new = name not in self._sentences
            self._sentences[name] = sentence
        if is_new:
            self._log(f"waiting for {name}: {sentence}")
        self._write()

    def end(self, name: str) -> None:
        """Note that this is waited for no more; nothing happens where it was not."""
        with self._lock:
            ended = self._sentences.pop(name, None)
        if ended is not None:
            self._log(f"{name} is there again; the station goes on")
        self._write()

    def sentences(self) -> dict[str, str]:
        """What is waited for now: a sentence for each name."""
        with self._lock:
            return dict(self._sentences)

    def close(self) -> None:
        """Remove the file: no station runs any more."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            self._written = ""

    def _write(self) -> None:
        """Write the file in place; a disk that is full has room for what it holds already."""
        content = json.dumps({"pid": os.getpid(), "waits": self.sentences()})
        if self._file is None or content == self._written:
            return
        padded = content.encode()[:_FILE_BYTES].ljust(_FILE_BYTES)
        try:
            handle = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(handle, padded, 0)
            finally:
                os.close(handle)
        except OSError:
            return  # it is tried again at the next change; the log has the line
        self._written = content


def read_waits(data_dir: Path) -> dict[str, str]:
    """What the station on this data folder waits for; nothing where none runs there."""
    try:
        content = json.loads((data_dir / WAITS).read_text().rstrip())
        os.kill(int(content["pid"]), 0)
        return {str(name): str(sentence) for name, sentence in content["waits"].items()}
    except PermissionError:  # of kill: it runs, as another user
        return {str(name): str(sentence) for name, sentence in content["waits"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


class WaitWatch:
    """Looks at the disk and at the servers from a thread of its own, and keeps alarms of waits.

    The station's own loop never asks the database, which may hang.

    Args:
        waits: Where waits begin and end.
        looks: Functions by the name of what they look at. Each returns a sentence that says what
            is waited for, or nothing; an error of ours is such a sentence.
    """

    def __init__(self, waits: Waits, looks: dict[str, Callable[[], str]]) -> None:
        self._waits = waits
        self._looks = looks
        self._alarms: set[str] | None = None  # None: an earlier station may have left some open
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wait watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End; a look that hangs is left behind, for its thread is no reason to stay."""
        self._stopped.set()
        if self._thread.ident:
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stopped.is_set():
            for name, look in self._looks.items():
                try:
                    sentence = look()
                except Exception as error:
                    sentence = safe_text(error)
                if self._stopped.is_set():
                    return
                if sentence:
                    self._waits.begin(name, sentence)
                else:
                    self._waits.end(name)
            self._keep_alarms()
            self._stopped.wait(_LOOK_SECONDS)

    def _keep_alarms(self) -> None:
        """Open an alarm for each wait, and close it at its end, once the database answers."""
        waits = self._waits.sentences()
        waits.pop(DISK, None)
        if self._alarms == set(waits):
            return
        from records.database.session import unit_of_work
        from records.operations import alarms

        try:
            with unit_of_work() as session:
                for alarm in alarms.open_alarms(session):
                    name = alarm.part.removeprefix(_ALARM_PREFIX)
                    if alarm.part.startswith(_ALARM_PREFIX) and name not in waits:
                        alarms.close_alarms(session, alarm.part)
                for name, sentence in waits.items():
                    cause = f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}."
                    part = f"{_ALARM_PREFIX}{name}"
                    alarms.raise_alarm(session, AlarmKind.STATION_WAITS, part, cause)
        except NightdraftError:
            return  # the database is what is waited for; the next look tries again
        self._alarms = set(waits)
