"""The sections of an evaluation's report, less its cases and the paper's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from training.evaluation.drafting import MODE_DESCRIPTIONS
from training.evaluation.evaluate import Evaluation
from training.evaluation.floors import FIXED, FLOOR_DESCRIPTIONS, TITLES
from training.evaluation.pages.grid import (
    BUNDLE,
    FLOOR,
    NO_VALUE,
    Cell,
    Grid,
    Line,
    Section,
    format_score,
    interval_cells,
    share_cell,
)
from training.evaluation.pages.support import support_section
from training.evaluation.scoring import Scores
from training.metrics.findings import F1, PRECISION, RECALL

WORDING_HEADINGS = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "bleu_a": "BLEU-A",
    "meteor_1_5": "METEOR 1.5",
    "meteor_nltk": "METEOR nltk",
    "rouge_l": "ROUGE-L",
    "rouge_l_google": "ROUGE-L Google",
}
OTHER_HEADINGS = {"radgraph_f1": "RadGraph F1"}
FINDING_HEADINGS = {F1: "finding F1", PRECISION: "precision", RECALL: "recall"}


def heading(name: str) -> str:
    """A score's heading."""
    known = (WORDING_HEADINGS | FINDING_HEADINGS | OTHER_HEADINGS).get(name)
    return known or name.replace("_f1_", " F1-").replace("_", " ")


def score_sections(evaluation: Evaluation) -> Iterator[Section]:
    """The sections before the paper's tables."""
    yield _scores(evaluation)
    if evaluation.main.agreement is not None:
        yield _findings(evaluation)
    if evaluation.main.scores.observations:
        yield _observations(evaluation)
    if (support := support_section(evaluation)) is not None:
        yield support
    yield _groups(evaluation)
    yield _comparing(evaluation)


def brief_sections(evaluation: Evaluation) -> Iterator[Section]:
    """What a terminal has room for: one normalisation, and findings without their list."""
    scores = _scores(evaluation)
    yield replace(scores, grids=scores.grids[:1])
    if evaluation.main.agreement is not None:
        findings = _findings(evaluation)
        yield replace(findings, grids=findings.grids[:1])
    if evaluation.main.scores.observations:
        yield _observations(evaluation)
    if (support := support_section(evaluation)) is not None:
        yield replace(support, grids=support.grids[:1])
    yield _comparing(evaluation)


def _scores(evaluation: Evaluation) -> Section:
    """Every mode over every floor, a table for each normalisation."""
    names = list(WORDING_HEADINGS)
    held_out = evaluation.held_out
    scored = "the findings of the report" if held_out.section == "findings" else "the report"
    paragraphs = [
        f"A draft is scored against {scored} that was written of the study. Below the bundle "
        "stand the floors: what is had without looking at a film. A score says something by how "
        "far it is above them.",
        "Beside each score: its 95% bootstrap interval over studies.",
    ]
    paragraphs += [
        f"Prior mode {mode} (template {result.drafts.template}): {MODE_DESCRIPTIONS[mode]}."
        for mode, result in evaluation.modes.items()
    ]
    paragraphs += [
        f"Prior mode {mode} is left out: {reason}." for mode, reason in evaluation.left_out.items()
    ]
    paragraphs += [
        f"Floor, {TITLES[name]}: {FLOOR_DESCRIPTIONS[name]}." for name in evaluation.floors
    ]
    if FIXED in held_out.floors:
        paragraphs.append(f"The fixed report: “{held_out.floors[FIXED][0]}”")
    for notes in evaluation.notes.values():
        paragraphs += [f"{note}." for note in notes.values()]
    grids = []
    for normalisation in evaluation.scoring.normalisations:
        mode_scores = {
            f"prior mode {mode}": result.scores.wording[normalisation]
            for mode, result in evaluation.modes.items()
        }
        floors = {TITLES[n]: floor.wording[normalisation] for n, floor in evaluation.floors.items()}
        grids.append(_grid(f"Wording, normalisation {normalisation}", names, mode_scores, floors))
    return Section("Scores and floors", tuple(dict.fromkeys(paragraphs)), tuple(grids))


def _findings(evaluation: Evaluation) -> Section:
    """Phantoms: what was drawn against what is named."""
    lines = []
    for mode, result in evaluation.modes.items():
        if result.agreement is None or result.swapped is None:
            continue
        cells = (
            *interval_cells(result.scores.findings, list(FINDING_HEADINGS)),
            Cell(f"{result.agreement.exact:.1%}"),
            Cell(format_score(result.swapped.f1)),
        )
        lines.append(Line(f"prior mode {mode}", cells, BUNDLE))
    lines += [
        Line(
            TITLES[n],
            (
                *interval_cells(floor.findings, list(FINDING_HEADINGS)),
                Cell(NO_VALUE),
                Cell(NO_VALUE),
            ),
            FLOOR,
        )
        for n, floor in evaluation.floors.items()
    ]
    modes = {m: c.agreement for m, c in evaluation.modes.items() if c.agreement is not None}
    by_finding = tuple(
        Line(
            name.replace("_", " "),
            (
                Cell(str(studies)),
                *(
                    Cell(format_score(agreement.by_finding[name]) if studies else NO_VALUE)
                    for agreement in modes.values()
                ),
            ),
        )
        for name, studies in next(iter(modes.values())).support.items()
    )
    return Section(
        "Findings",
        (
            "Findings named in the drafts against those that were drawn, all counted together "
            "(micro-averaged). A finding on the wrong side is a wrong one.",
            "Films swapped: the same studies, each drafted from the films of another one. The "
            "score that remains needs no look at the films.",
        ),
        (
            Grid(
                "Findings of phantoms",
                "",
                (*FINDING_HEADINGS.values(), "all right", "F1, films swapped"),
                tuple(lines),
            ),
            Grid(
                "F1 of each finding",
                "finding",
                ("studies with it", *(f"prior mode {mode}" for mode in modes)),
                by_finding,
            ),
        ),
    )


def _observations(evaluation: Evaluation) -> Section:
    names = list(evaluation.main.scores.observations)
    mode_scores = {
        f"prior mode {m}": result.scores.observations for m, result in evaluation.modes.items()
    }
    floors = {TITLES[n]: floor.observations for n, floor in evaluation.floors.items()}
    return Section(
        "Observations",
        (
            f"The observations of CheXpert that drafts and references name, read from both texts "
            f"by {evaluation.scoring.labeller.name}. Scores by another labeller are other scores.",
        ),
        (_grid("Agreement on observations", names, mode_scores, floors),),
    )


def _groups(evaluation: Evaluation) -> Section:
    held_out = evaluation.held_out
    names = _group_scores(evaluation)
    grids = []
    for mode, result in evaluation.modes.items():
        lines = [
            Line(f"all {len(held_out.examples)}", interval_cells(result.scores.main, names), BUNDLE)
        ]
        lines += [
            Line(f"{group.name} ({len(group.indices)})", interval_cells(scores, names))
            for group, scores in result.scores.groups
        ]
        columns = tuple(map(heading, names))
        grids.append(
            Grid(f"Groups of studies, prior mode {mode}", "studies", columns, tuple(lines))
        )
    duplicates = f"{held_out.duplicates} of {len(held_out.examples)} references"
    return Section(
        "Groups, and scores without duplicates",
        (
            f"{duplicates} stand word for word (in lower case, without punctuation) among the "
            f"{held_out.training} training reports that were read. A model that has learnt those "
            "by heart is right there without looking, "
            "so the scores without them are the ones to believe.",
            f"Normal or not is by {held_out.normal_by}. Scores are those of normalisation "
            f"{evaluation.scoring.first}.",
        ),
        tuple(grids),
    )


def _comparing(evaluation: Evaluation) -> Section:
    lines = []
    for mode, result in evaluation.modes.items():
        comparisons = result.comparisons
        cells = (
            Cell(str(comparisons.studies)),
            share_cell(comparisons.drafts, comparisons.studies),
            share_cell(comparisons.references, comparisons.studies),
        )
        lines.append(Line(f"prior mode {mode}", cells, BUNDLE))
    return Section(
        "Comparisons that nobody could make",
        (
            "Reports that compare with an earlier film (“unchanged from prior”) although no "
            "report of one was in the prompt. In a draft that is invention. References compare "
            "because their readers had the earlier film.",
        ),
        (
            Grid(
                "Texts with a comparing sentence, where no prior report was given",
                "",
                ("studies without", "drafts that compare", "references that compare"),
                tuple(lines),
            ),
        ),
    )


def failures_section(evaluation: Evaluation) -> Section:
    """Studies without a draft; a section without tables where there are none."""
    failed = evaluation.failures()
    if not failed:
        return Section("Studies without a draft", ("None: every study was drafted.",))
    return Section(
        "Studies without a draft",
        (
            f"{len(failed)} could not be drafted. Each is scored as an empty draft: to leave it "
            "out would flatter the bundle.",
        ),
        (
            Grid(
                "What failed, and why",
                "study",
                ("prior mode", "reason"),
                tuple(
                    Line(failure.key, (Cell(mode), Cell(failure.reason)))
                    for mode, failure in failed
                ),
            ),
        ),
    )


def names_section(evaluation: Evaluation) -> Section:
    """What each score is, to the version."""
    lines = [
        Line(heading(key), (Cell(name),))
        for section in evaluation.descriptions.values()
        for key, name in section.items()
    ]
    return Section(
        "What each score is",
        (
            "Scores of another implementation, version or normalisation are other scores. "
            f"Intervals: percentiles of {evaluation.scoring.resamples} bootstrap resamples of the "
            f"studies, seed {evaluation.scoring.seed}.",
        ),
        (Grid("Names of the scores", "score", ("implementation",), tuple(lines)),),
    )


def _group_scores(evaluation: Evaluation) -> list[str]:
    """The scores of groups: not every one of them, for a page is so wide."""
    wanted = ["bleu_4", "bleu_a", "meteor_1_5", "rouge_l"]
    wanted += [name for name in evaluation.main.scores.observations if not name.endswith("_macro")]
    return [name for name in (*wanted, F1) if name in evaluation.main.scores.main]


def _grid(
    caption: str, names: Sequence[str], mode_scores: dict[str, Scores], floors: dict[str, Scores]
) -> Grid:
    lines = [
        Line(head, interval_cells(scores, names), BUNDLE) for head, scores in mode_scores.items()
    ]
    lines += [Line(head, interval_cells(scores, names), FLOOR) for head, scores in floors.items()]
    return Grid(caption, "", tuple(map(heading, names)), tuple(lines))
