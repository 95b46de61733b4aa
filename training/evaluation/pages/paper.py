"""The paper's tables with our rows beside the published ones."""

from __future__ import annotations

from training.evaluation.drafting import PriorMode
from training.evaluation.evaluate import Evaluation
from training.evaluation.pages.grid import BUNDLE, Cell, Grid, Line, Section, format_score
from training.evaluation.published import HEADINGS, METEOR, TABLES, Table
from training.evaluation.scoring import Scores
from training.metrics.resampling import Interval

_NORMALISATION = "r2gen"
"""How the compared papers clean texts; used if it was measured."""

_METEOR = (
    "METEOR is two scores of one name. The compared papers give METEOR 1.5. The paper's .570 and "
    ".365 cannot be that: nltk's reads about twice as high. Both stand in our rows."
)
_PRIORS = (
    "The paper's ClinicalBLIP is given priors that were read out of the report to be written; of "
    "our rows that is prior mode oracle alone. Without priors its own Table 3 falls to .339."
)


def paper_section(evaluation: Evaluation) -> Section:
    """Return tables 1 to 3, with our rows in those of this corpus."""
    held_out = evaluation.held_out
    normalisation = _normalisation(evaluation)
    matching = [table.number for table in TABLES if table.corpus == held_out.corpus]
    if matching:
        references = "of the findings" if held_out.section == "findings" else "of whole reports"
        about = (
            f"Our rows: {evaluation.name} on {len(held_out.examples)} studies, "
            f"normalisation {normalisation}, references {references}."
        )
        if held_out.limit is not None:
            about += f" Only the first {held_out.limit} studies of the split were scored."
    else:
        about = (
            f"No row of ours: these tables are of IU X-RAY and MIMIC-CXR, and {evaluation.name} "
            f"was scored on {held_out.corpus}. Scores of other reports do not compare."
        )
    return Section(
        "The paper's tables",
        (
            "Ji J et al., JMIR Form Res 2024;8:e32690. N/A as published.",
            about,
            *((_METEOR, _PRIORS) if matching else ()),
        ),
        tuple(_grid(table, evaluation, normalisation) for table in TABLES),
    )


def _grid(table: Table, evaluation: Evaluation, normalisation: str) -> Grid:
    published = [
        Line(row.method, tuple(Cell("N/A" if v is None else format_score(v)) for v in row.values))
        for row in table.rows
    ]
    own = []
    if table.corpus == evaluation.held_out.corpus:
        own = [
            Line(
                f"{evaluation.name}, {_mode_words(mode)}",
                tuple(_cell(result.scores.wording[normalisation], name) for name in table.columns),
                BUNDLE,
            )
            for mode, result in evaluation.modes.items()
        ]
    return Grid(
        f"Table {table.number}. {table.title}",
        "method",
        tuple(HEADINGS[name] for name in table.columns),
        (*published, *own),
    )


def _mode_words(mode: PriorMode) -> str:
    return "without prior information" if mode is PriorMode.NONE else f"prior mode {mode}"


def _cell(scores: Scores, name: str) -> Cell:
    if name != METEOR:
        return Cell(_format_interval(scores.get(name)))
    meteor = f"{_format_interval(scores.get('meteor_1_5'))} (1.5)"
    return Cell(f"{meteor}, {_format_interval(scores.get('meteor_nltk'))} (nltk)")


def _format_interval(score: Interval | None) -> str:
    return format_score(None if score is None else score.value)


def _normalisation(evaluation: Evaluation) -> str:
    known = evaluation.scoring.normalisations
    return _NORMALISATION if _NORMALISATION in known else known[0]
