"""The paper's tables with our rows beside the published ones. Knows no markup."""

from __future__ import annotations

from training.evaluation.drafting import Mode
from training.evaluation.evaluate import Evaluation
from training.evaluation.pages.grid import OURS, Cell, Grid, Line, Section, number
from training.evaluation.published import HEADINGS, METEOR, TABLES, Table
from training.evaluation.scoring import Scores
from training.metrics.resampling import Interval

_NORMALISATION = "r2gen"
"""As the compared papers clean texts, where it is among those that were measured."""

_METEOR = (
    "METEOR is two scores of one name. The compared papers give METEOR 1.5. The paper's .570 and "
    ".365 cannot be that: nltk's reads about twice as high. Both stand in our rows."
)
_PRIORS = (
    "The paper's ClinicalBLIP is given priors that were read out of the report to be written; of "
    "our rows that is prior mode oracle alone. Without priors its own Table 3 falls to .339."
)


def paper(evaluation: Evaluation) -> Section:
    """Tables 1 to 3; our rows in those of this corpus."""
    held = evaluation.held
    ours = _normalisation(evaluation)
    mine = [table.number for table in TABLES if table.corpus == held.corpus]
    if mine:
        about = (
            f"Our rows: {evaluation.name} on {len(held.examples)} studies, normalisation {ours}, "
            f"references {'of the findings' if held.section == 'findings' else 'of whole reports'}."
        )
        if held.limit is not None:
            about += f" Only the first {held.limit} studies of the split were asked for."
    else:
        about = (
            f"No row of ours: these tables are of IU X-RAY and MIMIC-CXR, and {evaluation.name} "
            f"was scored on {held.corpus}. Scores of other reports do not compare."
        )
    return Section(
        "The paper's tables",
        (
            "Ji J et al., JMIR Form Res 2024;8:e32690. N/A as published.",
            about,
            *((_METEOR, _PRIORS) if mine else ()),
        ),
        tuple(_grid(table, evaluation, ours) for table in TABLES),
    )


def _grid(table: Table, evaluation: Evaluation, normalisation: str) -> Grid:
    published = [
        Line(row.method, tuple(Cell("N/A" if v is None else number(v)) for v in row.values))
        for row in table.rows
    ]
    own = []
    if table.corpus == evaluation.held.corpus:
        own = [
            Line(
                f"{evaluation.name}, {_words(mode)}",
                tuple(_cell(came.scored.wording[normalisation], name) for name in table.columns),
                OURS,
            )
            for mode, came in evaluation.modes.items()
        ]
    return Grid(
        f"Table {table.number}. {table.title}",
        "method",
        tuple(HEADINGS[name] for name in table.columns),
        (*published, *own),
    )


def _words(mode: Mode) -> str:
    return "without prior information" if mode is Mode.NONE else f"prior mode {mode}"


def _cell(scores: Scores, name: str) -> Cell:
    if name != METEOR:
        return Cell(_number(scores.get(name)))
    both = f"{_number(scores.get('meteor_1_5'))} (1.5)"
    return Cell(f"{both}, {_number(scores.get('meteor_nltk'))} (nltk)")


def _number(one: Interval | None) -> str:
    return number(None if one is None else one.value)


def _normalisation(evaluation: Evaluation) -> str:
    known = evaluation.how.normalisations
    return _NORMALISATION if _NORMALISATION in known else known[0]
