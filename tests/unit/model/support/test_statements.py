"""What the image model says of the findings that a draft names, and of those that it does not."""

from __future__ import annotations

import json

import pytest

from model.labels import OBSERVATIONS, RuleLabeller
from model.support.calibration import Calibration, Thresholds
from model.support.statements import Support, Verdict, assess, presence_of

HOME = Calibration(
    {name: Thresholds(0.6, 0.4, 50, 500) for name in OBSERVATIONS if name != "Fracture"},
    studies=550,
)
ABSENT = dict.fromkeys(OBSERVATIONS, 0.1)


def support(text: str, **scores: float) -> Support:
    named = {name.replace("_", " "): score for name, score in scores.items()}
    return assess(text, ABSENT | named, HOME, RuleLabeller())


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(0.9, Verdict.SUPPORTED), (0.5, Verdict.UNDECIDED), (0.2, Verdict.NOT_SUPPORTED)],
)
def test_a_named_finding_has_the_verdict_of_its_score(score: float, verdict: Verdict) -> None:
    found = support(
        "Findings: The heart is normal. There is a small left pneumothorax. "
        "Impression: Left pneumothorax.",
        Pneumothorax=score,
    )
    assert [(s.section, s.sentence, s.observation, s.verdict) for s in found.statements] == [
        ("findings", "There is a small left pneumothorax.", "Pneumothorax", verdict),
        ("impression", "Left pneumothorax.", "Pneumothorax", verdict),
    ]
    assert found.statements[0].score == score
    assert found.omissions == ()


def test_a_possible_finding_is_named_and_an_absent_one_is_not() -> None:
    found = support("Possible pneumonia. No pleural effusion.", Pneumonia=0.2)
    assert [s.observation for s in found.statements] == ["Pneumonia"]


def test_a_finding_that_is_seen_and_not_named_is_an_omission() -> None:
    found = support("The lungs are clear.", Cardiomegaly=0.9, Edema=0.5)
    assert [(o.observation, o.is_denied) for o in found.omissions] == [("Cardiomegaly", False)]


def test_a_finding_that_is_seen_and_denied_is_an_omission_that_says_so() -> None:
    found = support("No pneumothorax.", Pneumothorax=0.95)
    assert [(o.observation, o.is_denied) for o in found.omissions] == [("Pneumothorax", True)]


def test_who_names_the_kind_does_not_omit_the_general_finding() -> None:
    found = support("There is right lower lobe consolidation.", Consolidation=0.9, Lung_Opacity=0.9)
    assert found.omissions == ()
    assert support("The lungs are clear.", Lung_Opacity=0.9).omissions != ()


def test_a_finding_without_thresholds_is_not_assessed() -> None:
    found = support("There is a rib fracture.", Fracture=0.01)
    assert [s.verdict for s in found.statements] == [Verdict.NOT_ASSESSED]
    assert support("The lungs are clear.", Fracture=0.99).omissions == ()


def test_no_finding_is_neither_a_statement_nor_an_omission() -> None:
    assert support("No acute findings. The chest is normal.", No_Finding=0.99) == Support(
        (), (), 0.0, 550, 0.1
    )


def test_support_is_json() -> None:
    found = support("There is a left pneumothorax.", Cardiomegaly=0.9)
    assert json.loads(json.dumps(found.as_json()))["omissions"] == [
        {"observation": "Cardiomegaly", "is_denied": False, "score": 0.9}
    ]


def test_a_report_that_names_nothing_has_nothing() -> None:
    (labels,) = RuleLabeller().label(["Possible edema. Cardiomegaly. No pneumothorax."])
    presence = presence_of(labels)
    assert presence["Cardiomegaly"] is True
    assert presence["Edema"] is None
    assert presence["Pneumothorax"] is presence["Fracture"] is False
