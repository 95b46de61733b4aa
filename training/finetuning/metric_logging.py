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
WAITING_SHARE_SHOWN = 0.1
"""Of a step's time spent waiting for examples, above which it is said."""
LOG_FILE = "log.jsonl"


@dataclass(frozen=True)
class StepMetrics:
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


class MetricLogger:
    """Tells a run's steps. main: only the first of several processes does."""

    def __init__(self, folder: Path, log: Callable[[str], None], *, main: bool) -> None:
        self._folder = folder
        self._log_line = log
        self._main = main
        self._writer: _LogWriter | None = None

    @contextmanager
    def open(self, done: int, steps: int) -> Iterator[None]:
        """While the block runs, steps are told; what was told of later ones before is dropped."""
        if not self._main:
            yield
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        _drop_later_rows(self._folder / LOG_FILE, done)
        with _LogWriter(self._folder, done, steps, self._log_line) as self._writer:
            yield
        self._writer = None

    def step(self, progress: StepMetrics, validation: float | None) -> None:
        """Tell one step. validation: the last loss of the examples set apart."""
        if self._writer is not None:
            self._writer.step(progress, validation)

    def say(self, line: str) -> None:
        """A line for people."""
        if self._main:
            self._log_line(line)


class _LogWriter:
    def __init__(self, folder: Path, done: int, steps: int, log: Callable[[str], None]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._log_path = folder / LOG_FILE
        self._full = False
        self._tensorboard: SummaryWriter | None
        self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
        self._steps = steps
        self._log_line = log
        self._last_line = time.monotonic()
        self._mean_loss = math.nan
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
        self._task = self._bar.add_task(folder.name, total=steps, completed=done, how="")

    def __enter__(self) -> _LogWriter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._tensorboard is not None:
            with suppress(OSError):
                self._tensorboard.close()

    def step(self, now: StepMetrics, validation: float | None) -> None:
        try:
            append_line(
                self._log_path, json.dumps({**asdict(now), "validation": validation}) + "\n"
            )
            self._full = False
        except OSError as error:
            self._report_full_disk(error)
        try:
            self._write_tensorboard(now, validation)
        except OSError as error:
            # Its writing thread is dead then.
            self._tensorboard = None
            self._report_full_disk(error)
        self._show_progress(now)

    def _report_full_disk(self, error: OSError) -> None:
        """A full disk costs lines of the log and no step; said once, until there is room again."""
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        if not self._full:
            self._full = True
            self._log_line(
                f"no room for the log in {self._log_path.parent}: make room; the run goes on"
            )

    def _write_tensorboard(self, now: StepMetrics, validation: float | None) -> None:
        if self._tensorboard is None:
            return
        for name, value in (
            ("loss", now.loss),
            ("norm", now.norm),
            ("scale", now.scale),
            ("waited", now.waited),
        ):
            self._tensorboard.add_scalar(name, value, now.step)
        for name, value in now.rates.items():
            self._tensorboard.add_scalar(f"rate/{name}", value, now.step)
        if validation is not None:
            self._tensorboard.add_scalar("validation", validation, now.step)

    def _show_progress(self, now: StepMetrics) -> None:
        if math.isfinite(now.loss):
            self._mean_loss = (
                now.loss
                if math.isnan(self._mean_loss)
                else 0.95 * self._mean_loss + 0.05 * now.loss
            )
        how = (
            f"loss {self._mean_loss:.4f}, rate {max(now.rates.values()):.1e}, "
            f"{now.studies_per_second:.1f} studies/s"
        )
        if now.waited > WAITING_SHARE_SHOWN:
            how += f", {100 * now.waited:.0f}% of it waiting for examples"
        if now.skipped:
            how += f", {now.skipped} steps without numbers"
        self._bar.update(self._task, completed=now.step, how=how)
        if self._bar.disable and time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            self._log_line(f"step {now.step} of {self._steps}: {how}")


def append_line(path: Path, line: str) -> None:
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
    path = folder / LOG_FILE
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _drop_later_rows(path: Path, done: int) -> None:
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
        place.plot(
            steps, _running_mean([row["loss"] for row in rows]), color="#1f6f54", label="loss"
        )
        looked = [(row["step"], row["validation"]) for row in rows if row["validation"] is not None]
        if looked:
            place.plot(*zip(*looked, strict=True), color="#c7502b", label="set apart")
        place.set(title=name, xlabel="step", ylabel="loss")
        place.legend(frameon=False)
        place.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _running_mean(values: Sequence[float]) -> list[float]:
    """A running mean of what came before, as many steps as a fiftieth of all."""
    keep = 1.0 - 1.0 / max(1.0, len(values) / 50)
    smooth: list[float] = []
    for value in values:
        smooth.append(value if not smooth else keep * smooth[-1] + (1 - keep) * value)
    return smooth
