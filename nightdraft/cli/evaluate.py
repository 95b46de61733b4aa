"""`nightdraft evaluate`: a bundle's scores on a corpus, or two bundles' side by side.

This module has the options and tables; training.evaluation.evaluate does the work.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nightdraft.cli.json_output import STANDARD_OUTPUT, write_figures
from nightdraft.cli.options import check_file, console
from nightdraft.cli.progress import show_bars

if TYPE_CHECKING:
    from rich.console import RenderableType

    from training.evaluation.drafting import PriorMode
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
    as_paper: bool = False,
    beams: int = 1,
    normalisation: Sequence[str] = (),
    chexbert: Path | None = None,
    radgraph: Path | None = None,
    device: str | None = None,
    out: Path | None = None,
    json: Path | None = None,
) -> None:
    """Score a bundle on a held-out split; print the scores, write the report and the figures.

    Args:
        bundle: A folder or a shipped name.
        corpus: As `open_corpus` takes it.
        against: Another bundle to compare with.
        seed: Of the split, the phantoms, the shuffling and the resamples.
        split: As in `CorpusOptions`; None takes what the bundles were trained with. "validate"
            scores the validation part of that split.
        target: The same.
        limit: The number of studies.
        modes: Prior modes; empty takes all.
        as_paper: Read and prompt the corpus as the paper did: priors out of the report, findings
            alone, and of MIMIC-CXR the validation part, which its test set seems to have been.
        beams: 1 is greedy decoding.
        normalisation: Normalisations of the wording; empty takes the default ones.
        chexbert: The folder of CheXbert's weights; None takes the rules. It also labels the reports
            of MIMIC-CXR for the paper's template, in place of PhysioNet's labels.
        radgraph: The folder of RadGraph's weights.
        device: The device; None chooses one.
        out: A folder for report.html and report.md.
        json: A file for the figures; `-` is standard output, which then shows nothing else.

    Raises:
        NightdraftError, ModelError: as `training.evaluation.evaluate.evaluate`; or a path cannot be
            written to.
    """
    from model.decoding import Serving
    from model.labels import load_labeller
    from model.manifest import read_manifest
    from records.errors import SettingsError
    from training.corpus.as_trained import options_as_trained
    from training.corpus.example import TEST, VALIDATE
    from training.corpus.mimic_cxr import LabelledBy
    from training.corpus.registry import ORACLE_TEMPLATES, open_corpus
    from training.evaluation.evaluate import compare_bundles, evaluate_bundle, prepare_held_out_set
    from training.evaluation.figures import as_json
    from training.evaluation.report_page import check_folder, write_report
    from training.evaluation.scoring import DEFAULT_NORMALISATIONS, ScoringConfig
    from training.metrics.radgraph import check_radgraph

    # Everything that can be wrong is found before hours of drafting, not after.
    name = corpus.partition(":")[0]
    part = TEST
    if split == VALIDATE:
        split, part = None, VALIDATE
    if as_paper:
        if name not in ORACLE_TEMPLATES:
            raise SettingsError(
                f"--as-paper is for the paper's corpora ({', '.join(ORACLE_TEMPLATES)}), not {name}"
            )
        modes, target = modes or ("oracle",), target or "findings"
        part = VALIDATE if name == "mimic_cxr" else part
    chosen = _modes(modes)
    bundles = [read_manifest(name) for name in (bundle, *([against] if against else ()))]
    values = {"seed": seed, "split": split, "target": target}
    overrides = {name: value for name, value in values.items() if value is not None}
    options = options_as_trained(name, bundles, overrides)
    labeller = load_labeller(chexbert)
    opened = open_corpus(corpus, options, label=LabelledBy(labeller) if chexbert else None)
    if out is not None:
        check_folder(out)
    if json is not None and json != STANDARD_OUTPUT:
        check_file("figures", json)
    normalisations = tuple(dict.fromkeys(normalisation)) or DEFAULT_NORMALISATIONS
    if radgraph is not None and (note := check_radgraph(radgraph)):
        print(f"the scores will be without RadGraph's: {note}", file=sys.stderr)
    scoring = ScoringConfig(labeller, normalisations, seed=options.seed, radgraph=radgraph)
    with show_bars(paced_step="drafting", unit="studies") as progress:
        held_out = prepare_held_out_set(opened, scoring, limit, progress, part)
        serving = Serving(beams=beams)
        evaluation = evaluate_bundle(bundle, held_out, scoring, chosen, device, progress, serving)
        comparison = None
        if against:
            other = evaluate_bundle(against, held_out, scoring, chosen, device, progress, serving)
            comparison = compare_bundles(evaluation, other, progress)
    shows_more = write_figures(as_json(evaluation, comparison), json)
    if shows_more:
        console().print(render(evaluation, comparison))
    if out is not None:
        html, markdown = write_report(out, evaluation, comparison)
        if shows_more:
            print(f"the report: {html} and {markdown}")


def render(evaluation: Evaluation, comparison: Comparison | None = None) -> RenderableType:
    """Return what a terminal shows: scores over floors, findings, comparisons, the other bundle."""
    from rich.console import Group
    from rich.text import Text

    from training.evaluation.pages.sections import brief_sections
    from training.evaluation.pages.versus import comparison_section
    from training.evaluation.report_page import WARNING

    sections = [
        *brief_sections(evaluation),
        *([comparison_section(comparison)] if comparison else ()),
    ]
    held_out, failed = evaluation.held_out, len(evaluation.failures())
    title = (
        f"{evaluation.name} on {held_out.corpus}: {len(held_out.examples)} studies, on "
        f"{evaluation.device}, {evaluation.dtype}"
    )
    if failed:
        title += f"; {failed} drafts failed and are scored as empty"
    left_out = (
        Text(f"prior mode {mode} is left out: {reason}", style="dim")
        for mode, reason in evaluation.left_out.items()
    )
    tables = (_table(grid) for section in sections for grid in section.grids)
    return Group(Text(title, style="bold"), *tables, *left_out, Text(WARNING, style="dim"))


def _table(grid: Grid) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from training.evaluation.pages.grid import BUNDLE, FLOOR

    styles = {BUNDLE: "bold", FLOOR: "dim"}
    table = Table(
        box=None, title=Text(grid.caption), title_justify="left", header_style="dim", pad_edge=False
    )
    table.add_column(grid.row_heading)
    for column in grid.columns:
        table.add_column(Text(column), justify="right")
    for line in grid.lines:
        # As Text, since a name in square brackets would be taken for markup.
        table.add_row(
            Text(line.head),
            *(Text(f"{cell.text}\n{cell.detail}".strip()) for cell in line.cells),
            style=styles.get(line.kind, ""),
        )
    return table


def _modes(names: Sequence[str]) -> tuple[PriorMode, ...]:
    from training.evaluation.drafting import PriorMode

    known = {str(mode): mode for mode in PriorMode}
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"there is no prior mode {name!r}; there are {list(known)}")
    return tuple(known[name] for name in names) or tuple(PriorMode)
