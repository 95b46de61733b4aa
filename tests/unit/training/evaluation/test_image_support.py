"""What a finding head says of drafts is counted, with a study's own films and with others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from model.manifest import Manifest
from model.support.calibration import Calibration, Thresholds
from tests.support.evaluations import BUNDLE, SCORING, held_out_set, make_drafts, make_evaluation
from tests.support.listed_corpus import ListedCorpus, make_study
from training.evaluation.drafting import PriorMode
from training.evaluation.evaluate import Evaluation
from training.evaluation.figures import as_json
from training.evaluation.heldout import HeldOutSet
from training.evaluation.image_support import ImageSupport, score_image_support
from training.evaluation.pages.sections import brief_sections, score_sections

EFFUSION = "There is a right pleural effusion."
PNEUMOTHORAX = "There is a left pneumothorax."
CLEAR = "The lungs are clear."
HEAD = Calibration(
    {name: Thresholds(0.6, 0.4, 20, 80) for name in ("Pleural Effusion", "Pneumothorax")},
    studies=100,
    labeller="rules",
)
SCORED = replace(BUNDLE, finding_head={"calibration": HEAD.as_json()})

REFERENCES = (EFFUSION, EFFUSION, CLEAR, f"{EFFUSION} {PNEUMOTHORAX}")
DRAFTS = (EFFUSION, PNEUMOTHORAX, f"{EFFUSION} {CLEAR}", f"{EFFUSION} Large pleural effusion.")
SCORES = (
    {"Pleural Effusion": 0.9, "Pneumothorax": 0.1},
    {"Pleural Effusion": 0.8, "Pneumothorax": 0.2},  # names the wrong one, omits the right one
    {"Pleural Effusion": 0.5, "Pneumothorax": 0.1},  # undecided, and wrong
    {"Pleural Effusion": 0.95, "Pneumothorax": 0.7},  # names one of two, in two sentences
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use no METEOR 1.5, which starts slowly."""
    monkeypatch.setattr("training.metrics.meteor.shutil.which", lambda _: None)


def held_out() -> HeldOutSet:
    return held_out_set(ListedCorpus([make_study(str(n), t) for n, t in enumerate(REFERENCES)]))


def support_of(
    manifest: Manifest = SCORED, scores: tuple[Mapping[str, float], ...] = SCORES
) -> ImageSupport | None:
    drafts = replace(make_drafts(DRAFTS), finding_scores=scores)
    return score_image_support(manifest, held_out(), drafts, SCORING)


def test_statements_findings_and_omissions_are_counted() -> None:
    support = support_of()
    assert support is not None
    assert (support.calibration_studies, support.error_rate) == (100, 0.1)
    own = support.own
    # Each sentence is a statement, and each finding counts once a draft.
    assert (own.studies, own.statements, own.right, own.wrong) == (4, 5, 2, 2)
    assert own.omissions == {"Pneumothorax": 1, "Pleural Effusion": 1}
    assert {name: score.value for name, score in own.scores.items()} == pytest.approx(
        {
            "supported": 3 / 5,
            "not_supported": 1 / 5,
            "undecided": 1 / 5,
            "not_assessed": 0.0,
            "right_supported": 1.0,
            "wrong_not_supported": 1 / 2,
            "omissions_per_study": 2 / 4,
            "omissions_right": 1.0,
            "support_auc": 1.0,
        }
    )


def test_swapped_films_are_those_of_the_next_study() -> None:
    support = support_of()
    assert support is not None
    swapped = support.swapped
    assert (swapped.studies, swapped.statements) == (4, 5)
    # By the next study's scores: supported, not supported, supported, and twice supported.
    assert swapped.scores["supported"].value == pytest.approx(4 / 5)
    # Right ones score .8 and .9 there, wrong ones .1 and .95.
    assert swapped.scores["support_auc"].value == pytest.approx(1 / 2)


def test_an_observation_without_thresholds_is_not_assessed() -> None:
    bare = replace(HEAD, thresholds={"Pneumothorax": HEAD.thresholds["Pneumothorax"]})
    support = support_of(replace(BUNDLE, finding_head={"calibration": bare.as_json()}))
    assert support is not None
    assert support.own.scores["not_assessed"].value == pytest.approx(4 / 5)
    assert support.own.scores["support_auc"].value == pytest.approx(1.0)


def test_failed_drafts_are_not_assessed_and_lend_no_films() -> None:
    support = support_of(scores=(SCORES[0], {}, SCORES[2], SCORES[3]))
    assert support is not None
    assert support.own.studies == 3
    assert support.swapped.studies == 2


def test_what_has_no_calibrated_head_or_no_scores_has_no_image_support() -> None:
    assert support_of(BUNDLE) is None
    uncalibrated = {"calibration": Calibration().as_json()}
    assert support_of(replace(BUNDLE, finding_head=uncalibrated)) is None
    assert support_of(scores=({},) * 4) is None


def with_support(support: ImageSupport | None) -> Evaluation:
    evaluation = make_evaluation(held_out(), DRAFTS)
    result = replace(evaluation.main, support=support)
    return replace(evaluation, modes={PriorMode.CONTEXT: result})


def test_it_is_in_the_figures_the_report_and_the_terminal() -> None:
    evaluation = with_support(support_of())
    figures = as_json(evaluation)["modes"]["context"]["image_support"]
    assert figures["own"]["scores"]["supported"]["value"] == pytest.approx(0.6)
    assert figures["swapped"]["scores"]["supported"]["value"] == pytest.approx(0.8)
    (section,) = (s for s in score_sections(evaluation) if s.title == "Image support")
    scores, omitted = section.grids
    assert [line.head for line in scores.lines] == [
        "prior mode context",
        "prior mode context, films swapped",
    ]
    first = dict(zip(scores.columns, scores.lines[0].cells, strict=True))
    assert (first["statements"].text, first["supported"].text) == ("5", "0.600")
    assert {line.head: line.cells[0].text for line in omitted.lines} == {
        "Pneumothorax": "1",
        "Pleural Effusion": "1",
    }
    (brief,) = (s for s in brief_sections(evaluation) if s.title == "Image support")
    assert brief.grids == (scores,)


def test_without_it_there_is_no_section() -> None:
    evaluation = with_support(None)
    assert as_json(evaluation)["modes"]["context"]["image_support"] is None
    assert "Image support" not in {section.title for section in score_sections(evaluation)}
