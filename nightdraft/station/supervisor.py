"""Supervises several processes of one machine: restarts what dies, and ends all of them in order.

The station runs its parts this way, and `nightdraft work draft` one process for each GPU where
there are several.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO

from nightdraft.station.processes import ChildProcesses, end_processes
from nightdraft.station.restarts import CRASH_WINDOW_SECONDS, MAX_RESTART_DELAY, RestartDelay
from nightdraft.station.waits import Waits
from records.alarm_kinds import ALARM_REMEDIES, AlarmKind
from records.errors import NightdraftError, SettingsError
from records.settings import Settings

GRACE_SECONDS = 25.0
"""Seconds that a process may take to end before it is killed; its leases then run out."""

CRASH_LIMIT = 5
"""Deaths within `CRASH_WINDOW_SECONDS` after which an alarm is raised."""
_ALARM_RETRY_SECONDS = 10.0

POLL_SECONDS = 0.2
"""Seconds between two checks of the processes."""


@dataclass
class SupervisedProcess:
    """One process of a supervisor, and what is known of its earlier deaths.

    Args:
        part: The name of the part in its heartbeat.
        command: The words of the command after `nightdraft`.
        label: The process's own name, for people; the part's name if left out.
        env: Environment variables beside those that all processes of the supervisor have.
        fds: Open file descriptors that the process inherits.
    """

    part: str
    command: Sequence[str]
    label: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    fds: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay: RestartDelay = field(default_factory=RestartDelay)
    alarm_raised: bool = False
    has_settled: bool = False

    def __post_init__(self) -> None:
        self.label = self.label or self.part


class Supervisor:
    """Keeps a list of processes running between `start` and `end`.

    Args:
        supervised: The processes, in the order in which they start.
        children: Starts the processes, and writes them down for the next start.
        env: The environment of all processes.
        log: Gets one line for each thing that a person should know.
        log_dir: A folder for one log file a process; None lets the processes write to this
            process's standard error.
        max_restart_delay: Seconds, at most, between a death and the restart.
        waits: Gets what keeps a process from starting; None only logs it.
    """

    def __init__(
        self,
        supervised: Sequence[SupervisedProcess],
        children: ChildProcesses,
        env: Mapping[str, str],
        log: Callable[[str], None],
        log_dir: Path | None = None,
        *,
        max_restart_delay: float = MAX_RESTART_DELAY,
        waits: Waits | None = None,
    ) -> None:
        self.supervised = list(supervised)
        for entry in self.supervised:
            entry.delay.max_seconds = max_restart_delay
        self._children = children
        self._env = env
        self._log = log
        self._log_dir = log_dir
        self._waits = waits or Waits(None, log)

    def start(self) -> None:
        """Start every process, and log one line for each; what cannot start now is tried again."""
        for entry in self.supervised:
            self._try_start(entry, "wb")
            if entry.process is not None:
                self._log(f"{entry.label}: starting, process {entry.process.pid}")

    def restart_dead(self) -> None:
        """Restart the dead: at once after a first death, later and later if it dies again."""
        for entry in self.supervised:
            self._check(entry)

    def end(self, order: Sequence[Sequence[str]] = ()) -> None:
        """End all processes; those that do not end within `GRACE_SECONDS` are killed.

        Args:
            order: Groups of part names. One group ends after the other, its parts together;
                without an order all end together.
        """
        for parts in order or [[entry.part for entry in self.supervised]]:
            group = [
                entry.process
                for entry in self.supervised
                if entry.part in parts and entry.process is not None
            ]
            end_processes(group, signal.SIGTERM, GRACE_SECONDS)
        self._children.clear()

    def _try_start(self, entry: SupervisedProcess, mode: str = "ab") -> None:
        """Start a process; where that is not possible now, it is tried again later.

        Args:
            entry: The process.
            mode: How its log file is opened.
        """
        try:
            with contextlib.ExitStack() as files:
                entry.process = self._children.start(
                    [sys.executable, "-m", "nightdraft", *entry.command],
                    env={**self._env, **entry.env},
                    output=self._open_log(entry, mode, files),
                    fds=entry.fds,
                )
        except OSError as error:  # no memory or no process left, for example
            seconds = entry.delay.record_death()
            self._waits.begin(
                entry.label,
                f"{entry.label} cannot be started ({error.strerror or type(error).__name__}), and "
                f"is tried again, in {seconds:.0f} s",
            )
            return
        self._waits.end(entry.label)
        entry.started_at = time.monotonic()
        entry.has_settled = False

    def _open_log(
        self, entry: SupervisedProcess, mode: str, files: contextlib.ExitStack
    ) -> IO[bytes] | None:
        """The process's log file; None, which is our own standard error, where it cannot be."""
        if self._log_dir is None:
            return None
        try:
            self._log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._log_dir / f"{entry.label.replace(' ', '-')}.log"
            return files.enter_context(path.open(mode))
        except OSError as error:  # a full disk must not keep a part from starting
            self._log(
                f"{entry.label}: its log file cannot be opened ({error.strerror}); it logs here"
            )
            return None

    def _check(self, entry: SupervisedProcess) -> None:
        if entry.process is not None and entry.process.poll() is not None:
            delay = entry.delay.record_death()
            self._log(
                f"{entry.label}: ended ({_exit_cause(entry.process.returncode)}), restarting"
                + (f" in {delay:.0f} s" if delay else "")
            )
            entry.process = None
            if len(entry.delay.deaths) >= CRASH_LIMIT and not entry.alarm_raised:
                entry.alarm_raised = True
                self._raise_alarm(entry)
        if entry.process is None and entry.delay.is_over():
            self._try_start(entry)
        lived = time.monotonic() - entry.started_at
        if entry.process is not None and not entry.has_settled and lived > CRASH_WINDOW_SECONDS:
            # An earlier supervisor may have left the alarm open, too.
            entry.has_settled, entry.alarm_raised = True, False
            self._change_alarm(entry)

    def _raise_alarm(self, entry: SupervisedProcess) -> None:
        cause = (
            f"{entry.label} ended {len(entry.delay.deaths)} times within "
            f"{CRASH_WINDOW_SECONDS:.0f} s. The alarm closes by itself when it has run for "
            f"{CRASH_WINDOW_SECONDS:.0f} s."
        )
        self._log(f"ALARM: {cause} {ALARM_REMEDIES[AlarmKind.PART_CRASHING]}")
        self._change_alarm(entry, cause)

    def _change_alarm(self, entry: SupervisedProcess, cause: str = "") -> None:
        """Raise a process's alarm, or close it where the cause is empty.

        A thread does it: a database that hangs must not keep the supervisor from restarts. An alarm
        that could not be closed is tried again.
        """
        from records.database.session import unit_of_work
        from records.operations import alarms

        # Under a name of its own: an alarm of the stage itself would keep its worker from claiming.
        part = f"station {entry.label}"

        def change() -> None:
            try:
                with unit_of_work() as session:
                    if cause:
                        alarms.raise_alarm(session, AlarmKind.PART_CRASHING, part, cause)
                    elif alarms.close_alarms(session, part):
                        self._log(f"{entry.label}: runs well again, its alarm is closed")
            except NightdraftError:
                time.sleep(_ALARM_RETRY_SECONDS)
                entry.has_settled = False

        threading.Thread(target=change, name=f"alarm of {entry.label}", daemon=True).start()


# ---- One draft process for each GPU ----

_ONE_GPU = {"NIGHTDRAFT_GPUS": "one"}
"""A process that has this drafts on the device that it sees, and starts no further processes."""


def draft_processes(settings: Settings) -> list[SupervisedProcess]:
    """Return the draft processes of this machine: one for each GPU, or one without a GPU.

    Raises:
        SettingsError: NIGHTDRAFT_GPUS names a GPU that this machine does not have.
    """
    gpus = find_gpus(settings)
    if len(gpus) < 2:
        env = {"CUDA_VISIBLE_DEVICES": gpus[0]} if gpus else {}
        return [SupervisedProcess("draft", ("work", "draft"), env=_ONE_GPU | env)]
    return [
        SupervisedProcess(
            "draft",
            ("work", "draft"),
            f"draft {number}",
            _ONE_GPU | {"CUDA_VISIBLE_DEVICES": gpu},
        )
        for number, gpu in enumerate(gpus)
    ]


def find_gpus(settings: Settings) -> list[str]:
    """Return the GPUs to draft on, by the names that CUDA_VISIBLE_DEVICES takes.

    The list is empty where the one draft process chooses its device itself. This process must not
    initialise CUDA, for a process that it forks could not use CUDA then; so `nvidia-smi`, the
    driver's own program, lists the GPUs.

    Raises:
        SettingsError: NIGHTDRAFT_GPUS names a GPU that this machine does not have.
    """
    if settings.gpus == "one" or settings.device != "auto" or version("torch").endswith("+cpu"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        present = [name.strip() for name in visible.split(",") if name.strip()]
    else:
        present = _gpu_uuids(_list_gpus())
    if settings.gpus == "auto":
        return present
    gpus = []
    for name in (name.strip() for name in settings.gpus.split(",")):
        if not name:
            continue
        if name in present:
            gpus.append(name)
        elif name.isdigit() and int(name) < len(present):
            gpus.append(present[int(name)])
        else:
            raise SettingsError(
                f"NIGHTDRAFT_GPUS: this machine has no GPU {name!r}; it has {len(present)}"
                " (`nvidia-smi -L` lists them)"
            )
    return gpus


def _list_gpus() -> str:
    """What `nvidia-smi -L` prints; nothing where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _gpu_uuids(listing: str) -> list[str]:
    """The UUIDs in the output of `nvidia-smi -L`; of a divided GPU (MIG) those of its instances."""
    uuids: list[str] = []
    for line in listing.splitlines():
        _, _, rest = line.partition("(UUID: ")
        uuid = rest.partition(")")[0].strip()
        if not uuid:
            continue
        if uuid.startswith("MIG") and uuids and not uuids[-1].startswith("MIG"):
            uuids.pop()  # the GPU itself: only its instances can be used
        uuids.append(uuid)
    return uuids


def run_draft_processes(
    settings: Settings, supervised: Sequence[SupervisedProcess], log: Callable[[str], None]
) -> None:
    """Run one process a GPU until SIGTERM or Ctrl-C; when this returns, none is left running."""
    run = settings.data_dir / "run"
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A file for this host alone: several hosts may share the data folder.
    children = ChildProcesses(run / f"draft.{socket.gethostname()}.json")
    supervisor = Supervisor(supervised, children, os.environ, log)
    with stop_signals() as stop_requested:
        supervisor.start()
        try:
            while not stop_requested():
                supervisor.restart_dead()
                time.sleep(POLL_SECONDS)
        finally:
            supervisor.end()


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Take SIGTERM, SIGINT and SIGHUP as requests to end while the block runs.

    Yields:
        A function that says whether one of the signals has come.
    """
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)

    previous = {
        number: signal.signal(number, note)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit_cause(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
