"""Child processes of one data folder: started so that none outlives its parent, and ended in order.

Each is in a process group of its own (a Ctrl-C in the terminal reaches the parent alone, which
then ends them in order), gets a signal from the kernel when the parent is killed, and is written
down, so that the next start ends what was left even so. Knows nothing of what the children do.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from records.errors import PartError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@contextlib.contextmanager
def only_one(lock: Path, sentence: str) -> Iterator[None]:
    """Hold the lock file while the block runs; the kernel frees it however this process ends.

    Raises:
        PartError: another process holds it; `sentence` says what that means.
    """
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PartError(sentence) from None
        yield


class Children:
    """The processes that were started on one data folder, written down in `file`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: list[tuple[int, float]] = []

    def start(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        output: IO[bytes] | None = None,
        orphan_signal: signal.Signals = signal.SIGTERM,
        fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a process; `orphan_signal` is what it gets when this process is killed.

        fds: open files that it inherits, under the same numbers.

        The kernel sends it when the thread that started the child ends: start children from a
        thread that lives as long as they shall.
        """
        parent = os.getpid()

        def before_exec() -> None:
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, int(orphan_signal))
                if os.getppid() != parent:  # it was killed before we asked
                    os._exit(1)

        child = subprocess.Popen(
            list(command),
            env=None if env is None else dict(env),
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
            pass_fds=tuple(fds),
            # prctl and getppid alone: nothing that a lock of another thread could hold up.
            preexec_fn=before_exec,  # noqa: PLW1509
        )
        with contextlib.suppress(psutil.NoSuchProcess):
            self._known.append((child.pid, psutil.Process(child.pid).create_time()))
            self._write()
        return child

    def end_leftovers(self, seconds: float = 20.0) -> int:
        """End what a killed parent left behind; returns how many processes that were."""
        try:
            written = [(int(pid), float(born)) for pid, born in json.loads(self._file.read_text())]
        except (OSError, ValueError, TypeError):
            return 0
        left = []
        for pid, born in written:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                # A process id is given anew in time: the same birth makes it the same process.
                if abs(process.create_time() - born) < 0.05:
                    left.append(process)
        left += [child for process in left for child in _children(process)]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                # SIGINT is PostgreSQL's fast shutdown, SIGTERM everybody else's end.
                is_postgres = process.name() == "postgres"
                process.send_signal(signal.SIGINT if is_postgres else signal.SIGTERM)
        _, stubborn = psutil.wait_procs(left, timeout=seconds)
        for process in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(stubborn, timeout=5)
        self._file.unlink(missing_ok=True)
        return len(left)

    def forget(self) -> None:
        """All have ended: nothing is written down any more."""
        self._known.clear()
        self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        self._known = [(pid, born) for pid, born in self._known if psutil.pid_exists(pid)]
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(self._known))
        temporary.replace(self._file)


def end(
    processes: Sequence[subprocess.Popen[bytes]], how: signal.Signals, seconds: float
) -> list[int]:
    """Ask the processes to end and wait; those that do not are killed with their own children.

    Returns the pids of the killed ones.
    """
    families = {process.pid: _children_of(process.pid) for process in processes}
    for process in processes:
        if process.poll() is None:
            process.send_signal(how)
    killed = []
    until = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.05, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            killed.append(process.pid)
            families[process.pid] += _children_of(process.pid)
            process.kill()
            process.wait()
    left = [child for family in families.values() for child in family if child.is_running()]
    _, left = psutil.wait_procs(left, timeout=2)
    for child in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(left, timeout=5)
    return killed


def _children_of(pid: int) -> list[psutil.Process]:
    try:
        return _children(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
