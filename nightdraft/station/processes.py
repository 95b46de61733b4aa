"""Child processes of one data folder: none of them outlives its parent, and all end in order.

Each child is in a process group of its own, so that Ctrl-C in the terminal reaches the parent
alone, which then ends its children in order. When the parent is killed, the kernel sends each child
a signal; and since all children are listed in a file, the next start ends what survived even that.
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
def exclusive_lock(lock_file: Path, sentence: str) -> Iterator[None]:
    """Hold the lock file while the block runs; the kernel frees it however this process ends.

    Args:
        lock_file: The file to lock; it is made where it is missing.
        sentence: What it means to a person that another process holds the lock.

    Raises:
        PartError: Another process holds the lock; its text is `sentence`.
    """
    with lock_file.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PartError(sentence) from None
        yield


class ChildProcesses:
    """Starts the processes of one data folder, and lists them in a file.

    Args:
        file: The list: process id and time of creation of each child, as JSON.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._listed: list[tuple[int, float]] = []

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
        """Start a process.

        The kernel sends the orphan signal when the *thread* that started the child ends, so
        children are started from a thread that lives as long as they shall.

        Args:
            command: The program and its arguments.
            env: The whole environment; None for this process's own.
            user: The system user that the process runs as; None for this process's own.
            output: Where standard output and standard error go; None for this process's own.
            orphan_signal: The signal that the child gets when this process is killed.
            fds: Open file descriptors that the child inherits under the same numbers.
        """
        parent = os.getpid()

        def before_exec() -> None:
            if _LIBC is not None:
                _LIBC.prctl(_PR_SET_PDEATHSIG, int(orphan_signal))
                if os.getppid() != parent:  # the parent was killed before prctl took effect
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
            # Only prctl and getppid: nothing that could wait for a lock of another thread.
            preexec_fn=before_exec,  # noqa: PLW1509
        )
        with contextlib.suppress(psutil.NoSuchProcess):
            self._listed.append((child.pid, psutil.Process(child.pid).create_time()))
            self._write()
        return child

    def end_orphans(self, seconds: float = 20.0) -> int:
        """End the children that a killed parent left running.

        Args:
            seconds: How long the processes may take to end before they are killed.

        Returns:
            How many processes were running.
        """
        try:
            listed = [
                (int(pid), float(created)) for pid, created in json.loads(self._file.read_text())
            ]
        except (OSError, ValueError, TypeError):
            return 0
        orphans = []
        for pid, created in listed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                # The kernel reuses process ids: only the same creation time means the same process.
                if abs(process.create_time() - created) < 0.05:
                    orphans.append(process)
        orphans += [child for process in orphans for child in _descendants(process)]
        for process in orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                # SIGINT is PostgreSQL's fast shutdown; all others end by SIGTERM.
                is_postgres = process.name() == "postgres"
                process.send_signal(signal.SIGINT if is_postgres else signal.SIGTERM)
        _, alive = psutil.wait_procs(orphans, timeout=seconds)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)
        self._file.unlink(missing_ok=True)
        return len(orphans)

    def clear(self) -> None:
        """Remove the list; for when all children have ended."""
        self._listed.clear()
        self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        self._listed = [entry for entry in self._listed if psutil.pid_exists(entry[0])]
        # A full disk must not keep a child from starting: where the list cannot be written, the
        # kernel's signal to orphans is still there, and the next start of a child tries again.
        with contextlib.suppress(OSError):
            temporary = self._file.with_suffix(".new")
            temporary.write_text(json.dumps(self._listed))
            temporary.replace(self._file)


def end_processes(
    processes: Sequence[subprocess.Popen[bytes]], stop_signal: signal.Signals, seconds: float
) -> list[int]:
    """Ask the processes to end, and wait; kill those that do not, and all their descendants.

    Args:
        processes: The processes; those that have ended already are left alone.
        stop_signal: The signal that asks them to end.
        seconds: How long all of them together may take.

    Returns:
        The process ids of those that were killed.
    """
    families = {process.pid: _descendants_of(process.pid) for process in processes}
    for process in processes:
        if process.poll() is None:
            process.send_signal(stop_signal)
    killed = []
    deadline = time.monotonic() + seconds
    for process in processes:
        try:
            process.wait(max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            killed.append(process.pid)
            families[process.pid] += _descendants_of(process.pid)
            process.kill()
            process.wait()
    alive = [child for family in families.values() for child in family if child.is_running()]
    _, alive = psutil.wait_procs(alive, timeout=2)
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(alive, timeout=5)
    return killed


def _descendants_of(pid: int) -> list[psutil.Process]:
    try:
        return _descendants(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return []


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
