"""Several processes of one machine, watched: what dies is started again, and all end in order.

The station runs its parts so, and `nightdraft work draft` one process a GPU where there are
several. Knows how processes start, die and end, and nothing of their work.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from nightdraft.station.processes import Children, end
from records.errors import NightdraftError, SettingsError
from records.settings import Settings

PATIENCE = 25.0
"""Seconds that a process may take to end before it is killed; its leases then run out."""

QUICK_DEATHS = 5
"""Deaths within `QUICK_SECONDS` after which a person is called."""
QUICK_SECONDS = 120.0
LOOK = 0.2
"""Seconds between looks at the processes."""
_LONGEST_PAUSE = 30.0


@dataclass
class Watched:
    """One supervised process. part: the name of its heartbeat. label: its own name, for people.

    command: behind `nightdraft`. env: beside the others'. fds: open files that it inherits.
    """

    part: str
    command: Sequence[str]
    label: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    fds: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    start_again_at: float = 0.0
    deaths: list[float] = field(default_factory=list)
    alarmed: bool = False

    def __post_init__(self) -> None:
        self.label = self.label or self.part


class Several:
    """Processes between `start` and `end`.

    say: gets one line for each thing that a person should know. logs: a folder for one log file
    each; None lets them write to this process's standard error.
    """

    def __init__(
        self,
        watched: Sequence[Watched],
        children: Children,
        env: Mapping[str, str],
        say: Callable[[str], None],
        logs: Path | None = None,
    ) -> None:
        self.watched = list(watched)
        self._children = children
        self._env = env
        self._say = say
        self._logs = logs

    def start(self) -> None:
        """Start every process, with one line each."""
        if self._logs is not None:
            self._logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        for one in self.watched:
            self._start(one, "wb")
            self._say(f"{one.label}: starting, process {one.process.pid if one.process else ''}")

    def look(self) -> None:
        """Start again what has died: at once, and later and later if it dies again."""
        for one in self.watched:
            self._look_at(one)

    def end(self, order: Sequence[Sequence[str]] = ()) -> None:
        """End them, parts of one group of `order` together; what does not end in time is killed."""
        for parts in order or [[one.part for one in self.watched]]:
            group = [
                one.process for one in self.watched if one.part in parts and one.process is not None
            ]
            end(group, signal.SIGTERM, PATIENCE)
        self._children.forget()

    def _start(self, one: Watched, mode: str = "ab") -> None:
        with contextlib.ExitStack() as files:
            output = None
            if self._logs is not None:
                name = one.label.replace(" ", "-")
                output = files.enter_context((self._logs / f"{name}.log").open(mode))
            one.process = self._children.start(
                [sys.executable, "-m", "nightdraft", *one.command],
                env={**self._env, **one.env},
                output=output,
                fds=one.fds,
            )
        one.started = time.monotonic()

    def _look_at(self, one: Watched) -> None:
        now = time.monotonic()
        if one.process is not None and one.process.poll() is not None:
            one.deaths = [at for at in one.deaths if now - at < QUICK_SECONDS] + [now]
            # The first death of a while is mended at once, later ones after longer and longer.
            pause = (
                0.0 if len(one.deaths) == 1 else min(_LONGEST_PAUSE, 2.0 ** (len(one.deaths) - 2))
            )
            one.start_again_at = now + pause
            self._say(
                f"{one.label}: ended ({_how(one.process.returncode)}), starts again"
                + (f" in {pause:.0f} s" if pause else "")
            )
            one.process = None
            if len(one.deaths) >= QUICK_DEATHS and not one.alarmed:
                one.alarmed = True
                self._alarm(one.label, len(one.deaths))
        if one.process is None and now >= one.start_again_at:
            self._start(one)
        if one.alarmed and now - one.started > QUICK_SECONDS:
            one.alarmed = False

    def _alarm(self, label: str, deaths: int) -> None:
        from records.database.session import unit_of_work
        from records.operations import alarms

        sentence = (
            f"{label} ended {deaths} times within {QUICK_SECONDS:.0f} s: read its last words "
            "above, or in its log; `nightdraft doctor` says what to mend"
        )
        self._say(f"ALARM: {sentence}")
        # Under a name of its own: an alarm of the stage itself would keep its worker from claiming.
        with contextlib.suppress(NightdraftError), unit_of_work() as session:
            alarms.raise_alarm(session, f"station {label}", sentence)


def draft_processes(settings: Settings) -> list[Watched]:
    """What drafts on this machine: a process for each GPU, or one where there is no choice.

    Raises:
        SettingsError: NIGHTDRAFT_GPUS names what is not there.
    """
    gpus = find_gpus(settings)
    if len(gpus) < 2:
        env = {"CUDA_VISIBLE_DEVICES": gpus[0]} if gpus else {}
        return [Watched("draft", ("work", "draft"), env=_ONE | env)]
    return [
        Watched(
            "draft",
            ("work", "draft"),
            f"draft {number}",
            _ONE | {"CUDA_VISIBLE_DEVICES": gpu},
        )
        for number, gpu in enumerate(gpus)
    ]


_ONE = {"NIGHTDRAFT_GPUS": "one"}
"""A process of several draws on the device that it is given, and starts no others."""


def find_gpus(settings: Settings) -> list[str]:
    """The GPUs to draft on, by the name CUDA takes; none where one process chooses by itself.

    This process must not touch CUDA: what it forks could not use it. So the driver's own program
    is asked.

    Raises:
        SettingsError: NIGHTDRAFT_GPUS names what is not there.
    """
    if settings.gpus == "one" or settings.device != "auto" or version("torch").endswith("+cpu"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        there = [name.strip() for name in visible.split(",") if name.strip()]
    else:
        there = _listed(_ask_driver())
    if settings.gpus == "auto":
        return there
    chosen = [name.strip() for name in settings.gpus.split(",") if name.strip()]
    found = []
    for name in chosen:
        if name in there:
            found.append(name)
        elif name.isdigit() and int(name) < len(there):
            found.append(there[int(name)])
        else:
            raise SettingsError(
                f"NIGHTDRAFT_GPUS: there is no GPU {name!r} on this machine; there are {len(there)}"
                " (`nvidia-smi -L` lists them)"
            )
    return found


def _ask_driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _listed(words: str) -> list[str]:
    """The UUIDs that `nvidia-smi -L` lists; of a card that is divided (MIG) those of its parts."""
    found: list[str] = []
    for line in words.splitlines():
        _, _, rest = line.partition("(UUID: ")
        uuid = rest.partition(")")[0].strip()
        if not uuid:
            continue
        if uuid.startswith("MIG") and found and not found[-1].startswith("MIG"):
            found.pop()  # the card itself: only its parts can be used
        found.append(uuid)
    return found


def run_draft_processes(
    settings: Settings, watched: Sequence[Watched], say: Callable[[str], None]
) -> None:
    """Run one process a GPU until SIGTERM or Ctrl-C; when this returns, none is left running."""
    run = settings.data_dir / "run"
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A file of its own: several hosts may share the data folder.
    children = Children(run / f"draft.{socket.gethostname()}.json")
    several = Several(watched, children, os.environ, say)
    with signals() as asked_to_end:
        several.start()
        try:
            while not asked_to_end():
                several.look()
                time.sleep(LOOK)
        finally:
            several.end()


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM, SIGINT and SIGHUP ask to end while the block runs."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)

    before = {
        number: signal.signal(number, note)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
