"""Logs the steps of a run: a progress bar or lines, JSONL, trackers, and a plot of the losses.

No text of the corpus is written, only losses, rates and counts.
"""

from __future__ import annotations

import errno
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from training.finetuning.best_checkpoint import BestCheckpoint
from training.finetuning.trackers import DEFAULT_TRACKERS, Trackers

LINE_SECONDS = 30.0
"""Seconds between two lines where no terminal shows the progress bar."""
WAITING_SHARE_SHOWN = 0.1
"""The share of a step spent waiting for examples above which a line mentions it."""
LOG_FILE = "log.jsonl"


@dataclass(frozen=True)
class StepMetrics:
    """The numbers of one step. The fields are the keys of log.jsonl: their names stay.

    Args:
        step: Number of the step; 1 is the first.
        loss: Mean over the step's examples.
        rates: Learning rates by group.
        norm: Norm of the gradients, before clipping.
        scale: The loss's scale (float16).
        skipped: Steps without finite numbers so far.
        cut: Targets so far that were longer than allowed and lost their end.
        studies_per_second: Pace of this step.
        waited: Share of the step's time spent waiting for examples.
        memory: Highest memory of the GPU so far, in bytes.
    """

    step: int
    loss: float
    rates: dict[str, float]
    norm: float
    scale: float
    skipped: int
    cut: int
    studies_per_second: float
    waited: float
    memory: int


class MetricLogger:
    """Logs a run's steps.

    Args:
        folder: For log.jsonl and what trackers write.
        log: Gets lines for a person.
        main: Whether this is the first of several processes; the others log nothing.
        trackers: Names of trackers that get the numbers, too.
        settings: The run's settings by name, for the trackers.
    """

    def __init__(
        self,
        folder: Path,
        log: Callable[[str], None],
        *,
        main: bool,
        trackers: Sequence[str] = DEFAULT_TRACKERS,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self._log = log
        self._main = main
        self._trackers = trackers
        self._settings = settings or {}
        self._writer: _LogWriter | None = None

    @contextmanager
    def open(self, steps_done: int, steps: int) -> Iterator[None]:
        """Log steps while the block runs.

        Rows logged after `steps_done` by an earlier attempt are deleted first.
        """
        if not self._main:
            yield
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        _drop_later_rows(self._folder / LOG_FILE, steps_done)
        writer = _LogWriter(self._folder, steps_done, steps, self._log)
        writer.open_trackers(self._trackers, steps_done, self._settings)
        with writer as self._writer:
            yield
        self._writer = None

    def step(
        self, metrics: StepMetrics, validation: float | None, best: BestCheckpoint | None = None
    ) -> None:
        """Log one step.

        Args:
            metrics: The numbers of the step.
            validation: The newest loss of the validation examples.
            best: The best step so far, where one is chosen.
        """
        if self._writer is not None:
            self._writer.step(metrics, validation, best)

    def message(self, line: str) -> None:
        """Give a person a line."""
        if self._main:
            self._log(line)


class _LogWriter:
    """The open files and the progress bar of a run that is being logged."""

    def __init__(
        self, folder: Path, steps_done: int, steps: int, log: Callable[[str], None]
    ) -> None:
        self._log_path = folder / LOG_FILE
        self._disk_full = False
        self._trackers: Trackers | None = None
        self._steps = steps
        self._log = log
        self._last_line = time.monotonic()
        self._mean_loss = math.nan
        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(folder.name, total=steps, completed=steps_done, status="")

    def open_trackers(
        self, names: Sequence[str], steps_done: int, settings: Mapping[str, Any]
    ) -> None:
        self._trackers = Trackers(
            names, self._log_path.parent, steps_done, settings, self._report_tracker
        )

    def __enter__(self) -> _LogWriter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._trackers is not None:
            self._trackers.close()

    def step(
        self, metrics: StepMetrics, validation: float | None, best: BestCheckpoint | None
    ) -> None:
        row = {**asdict(metrics), "validation": validation}
        if best is not None:
            row["best_step"] = best.step or None
        try:
            append_line(self._log_path, json.dumps(row) + "\n")
            self._disk_full = False
        except OSError as error:
            self._report_full_disk(error)
        if self._trackers is not None:
            self._trackers.log(_tracked(metrics, validation), metrics.step)
        self._show_progress(metrics)

    def _report_tracker(self, name: str, error: Exception) -> None:
        """Say that a tracker failed; of a full disk, as of the log's own file."""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._report_full_disk(error)
            return
        self._log(
            f"the tracker {name} failed ({type(error).__name__}) and gets no further steps; the "
            f"run goes on, all numbers are in {self._log_path}"
        )

    def _report_full_disk(self, error: OSError) -> None:
        """Say once, until there is room again, that lines are lost because the disk is full."""
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        if not self._disk_full:
            self._disk_full = True
            self._log(f"no room for the log in {self._log_path.parent}: make room; the run goes on")

    def _show_progress(self, metrics: StepMetrics) -> None:
        if math.isfinite(metrics.loss):
            self._mean_loss = (
                metrics.loss
                if math.isnan(self._mean_loss)
                else 0.95 * self._mean_loss + 0.05 * metrics.loss
            )
        status = (
            f"loss {self._mean_loss:.4f}, rate {max(metrics.rates.values()):.1e}, "
            f"{metrics.studies_per_second:.1f} studies/s"
        )
        if metrics.waited > WAITING_SHARE_SHOWN:
            status += f", {100 * metrics.waited:.0f}% of it waiting for examples"
        if metrics.skipped:
            status += f", {metrics.skipped} steps skipped (not finite)"
        if metrics.cut:
            status += f", {metrics.cut:,} targets were too long and were cut"
        self._bar.update(self._task, completed=metrics.step, status=status)
        if self._bar.disable and time.monotonic() - self._last_line > LINE_SECONDS:
            self._last_line = time.monotonic()
            self._log(f"step {metrics.step} of {self._steps}: {status}")


def _tracked(metrics: StepMetrics, validation: float | None) -> dict[str, float]:
    """The numbers of a step that trackers get; their names stay, so that runs can be compared."""
    values = {
        "loss": metrics.loss,
        "norm": metrics.norm,
        "scale": metrics.scale,
        "waited": metrics.waited,
        "cut": metrics.cut,
        **{f"rate/{name}": rate for name, rate in metrics.rates.items()},
    }
    return values if validation is None else {**values, "validation": validation}


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, or nothing at all: half a line would hide the lines after it.

    Raises:
        OSError: The line could not be written.
    """
    data = line.encode()
    with path.open("ab", buffering=0) as file:
        start = file.tell()
        if (file.write(data) or 0) < len(data):
            file.truncate(start)
            raise OSError(errno.ENOSPC, "no room for a line of the log")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The logged steps of a run, in order; an incomplete last line is left out."""
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


def _drop_later_rows(path: Path, steps_done: int) -> None:
    """Delete the rows of steps after `steps_done`, because those steps are done again."""
    rows = [row for row in read_log(path.parent) if row["step"] <= steps_done]
    if path.exists():
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        fresh.rename(path)


def plot_losses(path: Path, runs: Sequence[tuple[str, Path]]) -> None:
    """Plot the loss by step of each run, with a running mean, into one PNG.

    Args:
        path: The PNG.
        runs: Name and folder of each run.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(runs), figsize=(6 * len(runs), 4), squeeze=False, constrained_layout=True
    )
    for axis, (name, folder) in zip(axes[0], runs, strict=True):
        rows = [row for row in read_log(folder) if math.isfinite(row["loss"])]
        steps = [row["step"] for row in rows]
        losses = [row["loss"] for row in rows]
        axis.plot(steps, losses, color="#c9d3db", linewidth=0.7)
        axis.plot(steps, _running_mean(losses), color="#1f6f54", label="loss")
        validated = [
            (row["step"], row["validation"]) for row in rows if row["validation"] is not None
        ]
        if validated:
            axis.plot(*zip(*validated, strict=True), color="#c7502b", label="validation")
        axis.set(title=name, xlabel="step", ylabel="loss")
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _running_mean(values: Sequence[float]) -> list[float]:
    """An exponential mean over about a fiftieth of all values."""
    decay = 1.0 - 1.0 / max(1.0, len(values) / 50)
    means: list[float] = []
    for value in values:
        means.append(value if not means else decay * means[-1] + (1 - decay) * value)
    return means
