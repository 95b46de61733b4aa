"""How a run goes, for people and for machines: a bar, a line, JSONL, TensorBoard, a picture.

Knows no network. No text of the corpus is written: losses, rates and counts alone.
"""

from __future__ import annotations

import errno
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_SECONDS = 30.0
"""Between two lines where there is no terminal to draw a bar on."""
MUCH = 0.1
"""Of a step's time spent waiting for examples, above which it is said."""
LOG = "log.jsonl"


@dataclass(frozen=True)
class Progress:
    """One step.

    norm: of the gradients, before they were clipped. waited: share of the step's time in which it
    waited for examples. memory: bytes, highest yet.
    """

    step: int
    loss: float
    rates: dict[str, float]
    norm: float
    scale: float
    skipped: int
    studies_per_second: float
    waited: float
    memory: int


class Teller:
    """Tells a run's steps. main: only the first of several processes does."""

    def __init__(self, folder: Path, tell: Callable[[str], None], *, main: bool) -> None:
        self._folder = folder
        self._tell = tell
        self._main = main
        self._writing: _Writing | None = None

    @contextmanager
    def open(self, done: int, steps: int) -> Iterator[None]:
        """While the block runs, steps are told; what was told of later ones before is dropped."""
        if not self._main:
            yield
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        _cut(self._folder / LOG, done)
        with _Writing(self._folder, done, steps, self._tell) as self._writing:
            yield
        self._writing = None

    def step(self, progress: Progress, validation: float | None) -> None:
        """Tell one step. validation: the last loss of the examples set apart."""
        if self._writing is not None:
            self._writing.step(progress, validation)

    def say(self, line: str) -> None:
        """A line for people."""
        if self._main:
            self._tell(line)


class _Writing:
    def __init__(self, folder: Path, done: int, steps: int, tell: Callable[[str], None]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._log = folder / LOG
        self._full = False
        self._board: SummaryWriter | None
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
        self._steps = steps
        self._say = tell
        self._said = time.monotonic()
        self._mean = math.nan
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[how]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
        )
        self._row = self._bar.add_task(folder.name, total=steps, completed=done, how="")

    def __enter__(self) -> _Writing:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._board is not None:
            with suppress(OSError):
                self._board.close()

    def step(self, now: Progress, validation: float | None) -> None:
        try:
            _append(self._log, json.dumps({**asdict(now), "validation": validation}) + "\n")
            self._full = False
        except OSError as error:
            self._no_room(error)
        try:
            self._draw(now, validation)
        except OSError as error:
            # Its writing thread is dead then.
            self._board = None
            self._no_room(error)
        self._show(now)

    def _no_room(self, error: OSError) -> None:
        """A full disk costs lines of the log and no step; said once, until there is room again."""
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        if not self._full:
            self._full = True
            self._say(f"no room for the log in {self._log.parent}: make room; the run goes on")

    def _draw(self, now: Progress, validation: float | None) -> None:
        if self._board is None:
            return
        for name, value in (
            ("loss", now.loss),
            ("norm", now.norm),
            ("scale", now.scale),
            ("waited", now.waited),
        ):
            self._board.add_scalar(name, value, now.step)
        for name, value in now.rates.items():
            self._board.add_scalar(f"rate/{name}", value, now.step)
        if validation is not None:
            self._board.add_scalar("validation", validation, now.step)

    def _show(self, now: Progress) -> None:
        if math.isfinite(now.loss):
            self._mean = now.loss if math.isnan(self._mean) else 0.95 * self._mean + 0.05 * now.loss
        how = (
            f"loss {self._mean:.4f}, rate {max(now.rates.values()):.1e}, "
            f"{now.studies_per_second:.1f} studies/s"
        )
        if now.waited > MUCH:
            how += f", {100 * now.waited:.0f}% of it waiting for examples"
        if now.skipped:
            how += f", {now.skipped} steps without numbers"
        self._bar.update(self._row, completed=now.step, how=how)
        if self._bar.disable and time.monotonic() - self._said > LINE_SECONDS:
            self._said = time.monotonic()
            self._say(f"step {now.step} of {self._steps}: {how}")


def _append(path: Path, line: str) -> None:
    """Add a line, or nothing at all: half a line would hide those behind it."""
    said = line.encode()
    with path.open("ab", buffering=0) as file:
        start = file.tell()
        if (file.write(said) or 0) < len(said):
            file.truncate(start)
            raise OSError(errno.ENOSPC, "no room for a line of the log")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The steps that a run has told, in order; a last line that was cut off is left out."""
    rows: list[dict[str, Any]] = []
    path = folder / LOG
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _cut(path: Path, done: int) -> None:
    """Drop what was told of steps after `done`: they are done again."""
    kept = [row for row in read_log(path.parent) if row["step"] <= done]
    if path.exists():
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        fresh.rename(path)


def plot_losses(path: Path, runs: Sequence[tuple[str, Path]]) -> None:
    """The loss of each run by step, with a running mean, as one PNG. runs: name and folder."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(runs), figsize=(6 * len(runs), 4), squeeze=False, constrained_layout=True
    )
    for place, (name, folder) in zip(axes[0], runs, strict=True):
        rows = [row for row in read_log(folder) if math.isfinite(row["loss"])]
        steps = [row["step"] for row in rows]
        place.plot(steps, [row["loss"] for row in rows], color="#c9d3db", linewidth=0.7)
        place.plot(steps, _smooth([row["loss"] for row in rows]), color="#1f6f54", label="loss")
        looked = [(row["step"], row["validation"]) for row in rows if row["validation"] is not None]
        if looked:
            place.plot(*zip(*looked, strict=True), color="#c7502b", label="set apart")
        place.set(title=name, xlabel="step", ylabel="loss")
        place.legend(frameon=False)
        place.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _smooth(values: Sequence[float]) -> list[float]:
    """A running mean of what came before, as many steps as a fiftieth of all."""
    keep = 1.0 - 1.0 / max(1.0, len(values) / 50)
    smooth: list[float] = []
    for value in values:
        smooth.append(value if not smooth else keep * smooth[-1] + (1 - keep) * value)
    return smooth
