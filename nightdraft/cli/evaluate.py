"""`nightdraft evaluate`: a bundle's scores on a corpus, or two bundles' side by side.

Knows options, bars and tables on a terminal; training.evaluation.evaluate does the work.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nightdraft.cli.options import check_file, console

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Task

    from training.evaluation.drafting import Done, Mode
    from training.evaluation.evaluate import Comparison, Evaluation
    from training.evaluation.pages.grid import Grid


def evaluate_command(
    bundle: str,
    corpus: str,
    *,
    against: str | None = None,
    seed: int | None = None,
    split: str | None = None,
    target: str | None = None,
    limit: int | None = None,
    modes: Sequence[str] = (),
    normalisation: Sequence[str] = (),
    chexbert: Path | None = None,
    radgraph: Path | None = None,
    device: str | None = None,
    out: Path | None = None,
    json_: Path | None = None,
) -> None:
    """Score a bundle on a corpus's test split; print, and write the report and the figures.

    bundle, against: a folder or a shipped name. corpus: as `open_corpus` takes it. seed: of the
    split, the phantoms, the shuffling and the resamples. split, target: as `Reading`; what is left
    out is as the bundles were trained. modes, normalisation: empty takes all.
    out: a folder for report.html and report.md. json_: a file for the figures.

    Raises:
        NightdraftError, ModelError: as `training.evaluation.evaluate.evaluate`; a path cannot be written to.
    """
    from model.labels import load_labeller
    from model.manifest import read_manifest
    from training.corpus.as_trained import options_as_trained
    from training.corpus.registry import open_corpus
    from training.evaluation.evaluate import compare_bundles, examine, prepare
    from training.evaluation.figures import as_json
    from training.evaluation.report_page import check_folder, write_report
    from training.evaluation.scoring import NORMALISED, ScoringConfig

    # What can be wrong is found before hours of drafting, not after.
    chosen = _modes(modes)
    bundles = [read_manifest(name) for name in (bundle, *([against] if against else ()))]
    given = {"seed": seed, "split": split, "target": target}
    asked = {name: value for name, value in given.items() if value is not None}
    reading = options_as_trained(corpus.partition(":")[0], bundles, asked)
    opened = open_corpus(corpus, reading)
    if out is not None:
        check_folder(out)
    if json_ is not None:
        check_file("figures", json_)
    normalisations = tuple(dict.fromkeys(normalisation)) or NORMALISED
    how = ScoringConfig(
        load_labeller(chexbert), normalisations, seed=reading.seed, radgraph=radgraph
    )
    with _bar() as told:
        held = prepare(opened, how, limit, told)
        evaluation = examine(bundle, held, how, chosen, device, told)
        comparison = None
        if against:
            other = examine(against, held, how, chosen, device, told)
            comparison = compare_bundles(evaluation, other, told)
    if json_ is not None:
        figures = json.dumps(as_json(evaluation, comparison), indent=1, allow_nan=False)
        json_.write_text(figures + "\n", encoding="utf-8")
    console().print(show(evaluation, comparison))
    if out is not None:
        html, markdown = write_report(out, evaluation, comparison)
        print(f"the report: {html} and {markdown}")


def show(evaluation: Evaluation, comparison: Comparison | None = None) -> RenderableType:
    """The scores over the floors, findings, comparisons, and the other bundle, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    from training.evaluation.pages.sections import brief
    from training.evaluation.pages.versus import versus
    from training.evaluation.report_page import WARNING

    shown = [*brief(evaluation), *([versus(comparison)] if comparison else ())]
    held, failed = evaluation.held, len(evaluation.failures())
    said = (
        f"{evaluation.name} on {held.corpus}: {len(held.examples)} studies, on "
        f"{evaluation.device}, {evaluation.dtype}"
    )
    if failed:
        said += f"; {failed} drafts failed and are scored as empty"
    left_out = (
        Text(f"prior mode {mode} is left out: {why}", style="dim")
        for mode, why in evaluation.left_out.items()
    )
    grids = (_table(grid) for section in shown for grid in section.grids)
    return Group(Text(said, style="bold"), *grids, *left_out, Text(WARNING, style="dim"))


def _table(grid: Grid) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from training.evaluation.pages.grid import FLOOR, OURS

    styles = {OURS: "bold", FLOOR: "dim"}
    table = Table(
        box=None, title=Text(grid.caption), title_justify="left", header_style="dim", pad_edge=False
    )
    table.add_column(grid.of)
    for column in grid.columns:
        table.add_column(Text(column), justify="right")
    for line in grid.lines:
        # As Text: a name in square brackets would be taken for markup.
        table.add_row(
            Text(line.head),
            *(Text(f"{cell.text}\n{cell.detail}".strip()) for cell in line.cells),
            style=styles.get(line.kind, ""),
        )
    return table


def _modes(names: Sequence[str]) -> tuple[Mode, ...]:
    from training.evaluation.drafting import Mode

    known = {str(mode): mode for mode in Mode}
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"there is no prior mode {name!r}; there are {list(known)}")
    return tuple(known[name] for name in names) or tuple(Mode)


@contextmanager
def _bar() -> Iterator[Done]:
    """A bar for each step, with studies a second where it drafts; on a terminal, standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Pace(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            drafting = task.description.startswith("drafting")
            return Text(f"{speed:.1f} studies/s" if drafting and speed else "")

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        Pace(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as progress:
        bars: dict[str, Any] = {}

        def told(what: str, done: int, of: int) -> None:
            if what not in bars or done < progress.tasks[bars[what]].completed:
                bars[what] = progress.add_task(what, total=of)
            progress.update(bars[what], completed=done, total=of)

        yield told
