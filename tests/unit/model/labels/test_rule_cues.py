"""How far a cue of the rule labeller reaches; most examples stand beside their opposite."""

from __future__ import annotations

import csv
import re
from itertools import pairwise
from pathlib import Path

import pytest

from model.labels import NO_FINDING, OBSERVATIONS, Label, RuleLabeller

P, A, U, B = Label.PRESENT, Label.ABSENT, Label.UNCERTAIN, Label.BLANK


def label_of(text: str, observation: str) -> Label:
    return RuleLabeller().label([text])[0][observation]


@pytest.mark.parametrize(
    ("text", "observation", "label"),
    [
        # resolving is not resolved
        ("Resolving right lower lobe pneumonia.", "Pneumonia", P),
        ("Resolved right lower lobe pneumonia.", "Pneumonia", A),
        ("Consolidation is resolving.", "Consolidation", P),
        ("The effusion has partially resolved.", "Pleural Effusion", P),
        ("The effusion has resolved partially.", "Pleural Effusion", P),
        ("The effusion has completely resolved.", "Pleural Effusion", A),
        ("Partial resolution of the effusion.", "Pleural Effusion", P),
        ("Near-complete resolution of the effusion.", "Pleural Effusion", P),
        ("Complete resolution of the effusion.", "Pleural Effusion", A),
        ("The pneumothorax has nearly resolved.", "Pneumothorax", P),
        ("Almost completely resolved pneumothorax.", "Pneumothorax", P),
        ("Pneumothorax not yet resolved.", "Pneumothorax", P),
        ("The pneumothorax has now resolved.", "Pneumothorax", A),
        ("Incomplete resolution of the pneumonia.", "Pneumonia", P),
        ("Interval resolution of the pneumonia.", "Pneumonia", A),
        ("Recommend follow-up to ensure resolution of the pneumonia.", "Pneumonia", P),
        ("Follow until complete resolution of the pneumonia.", "Pneumonia", P),
        ("Better aeration due to resolution of the effusion.", "Pleural Effusion", A),
        # a denied change
        ("No interval improvement in edema.", "Edema", P),
        ("Interval improvement, no edema.", "Edema", A),
        ("No improvement in the consolidation.", "Consolidation", P),
        ("No worsening of the consolidation.", "Consolidation", P),
        ("No progression of the effusion.", "Pleural Effusion", P),
        ("No resolution of the pneumonia.", "Pneumonia", P),
        ("No consolidation, improvement since the prior film.", "Consolidation", A),
        ("The pneumonia could be resolving, or malignancy.", "Lung Lesion", U),
        ("It could be a resolving infection, sarcoidosis, or malignancy.", "Pneumonia", U),
    ],
)
def test_an_unresolved_finding_is_present(text: str, observation: str, label: Label) -> None:
    assert label_of(text, observation) is label


@pytest.mark.parametrize(
    ("text", "observation", "label"),
    [
        # a clause with a verb of its own
        ("No pneumothorax and cardiomegaly is stable.", "Cardiomegaly", P),
        ("No pneumothorax and cardiomegaly is stable.", "Pneumothorax", A),
        ("There is no pneumothorax, cardiomegaly is present.", "Cardiomegaly", P),
        ("No pneumothorax - cardiomegaly persists.", "Cardiomegaly", P),
        ("There is no effusion, and opacity at the left base is unchanged.", "Lung Opacity", P),
        ("No effusion, opacity/atelectasis at the base remains.", "Lung Opacity", P),
        ("No effusion, cardiomegaly unchanged.", "Cardiomegaly", P),
        ("Effusion is small, no pneumothorax, opacity is new.", "Pneumothorax", A),
        ("Effusion is small, no pneumothorax, opacity is new.", "Lung Opacity", P),
        ("Cannot exclude pneumonia, cardiomegaly is stable.", "Cardiomegaly", P),
        ("Cannot exclude pneumonia, cardiomegaly is stable.", "Pneumonia", U),
        # the verb of a list
        ("No infiltrate, pneumothorax or effusion is identified.", "Pneumothorax", A),
        ("No infiltrate, pneumothorax or effusion is present.", "Pleural Effusion", A),
        ("No pneumothorax and effusion is noted.", "Pleural Effusion", A),
        ("No nodules, masses are definitely seen on this radiograph.", "Lung Lesion", A),
        ("No pneumothorax, nodule is seen in the left apex.", "Lung Lesion", P),
        ("No effusion, pneumothorax is not seen.", "Pneumothorax", A),
        ("No infiltrate, effusion, stable chest.", "Pleural Effusion", A),
        # a clause that begins with an adjective
        ("No pneumothorax or effusion, patchy left basilar opacity.", "Lung Opacity", P),
        ("No effusion and hazy opacity at the right base.", "Lung Opacity", P),
        ("No effusion, streaky opacity, or pneumothorax.", "Lung Opacity", A),
        ("No effusion, focal left basilar opacity.", "Lung Opacity", P),
        ("No focal consolidation.", "Consolidation", A),
        ("No patchy left basilar opacity.", "Lung Opacity", A),
        ("No effusion, pneumothorax, or focal consolidation.", "Consolidation", A),
        ("No effusion, pneumothorax, focal consolidation.", "Consolidation", A),
        ("No pneumothorax, healed rib fracture.", "Fracture", P),
        # an adjective that continues the list
        ("No acute, large effusion.", "Pleural Effusion", A),
        ("No acute, displaced fractures are present in the ribs.", "Fracture", A),
        ("Pneumothorax is not large, small effusion.", "Pleural Effusion", P),
    ],
)
def test_a_negation_ends_with_its_clause(text: str, observation: str, label: Label) -> None:
    assert label_of(text, observation) is label


@pytest.mark.parametrize(
    ("text", "observation", "label"),
    [
        ("Small right pleural effusion - no pneumothorax.", "Pleural Effusion", P),
        ("Small right pleural effusion - no pneumothorax.", "Pneumothorax", A),
        ("Small right pleural effusion: no pneumothorax.", "Pleural Effusion", P),
        ("Cardiomegaly - no edema.", "Cardiomegaly", P),
        ("Cardiomegaly - no edema.", "Edema", A),
        ("Pneumothorax: no", "Pneumothorax", A),
        ("Pneumothorax - none; effusion: small.", "Pneumothorax", A),
        ("Pneumothorax - none; effusion: small.", "Pleural Effusion", P),
        ("Pneumothorax: none seen.", "Pneumothorax", A),
        ("Pleural effusions: no large effusion.", "Pleural Effusion", A),
        ("Pleural effusion: no change in the effusion.", "Pleural Effusion", P),
    ],
)
def test_a_negation_after_a_colon_or_a_dash(text: str, observation: str, label: Label) -> None:
    assert label_of(text, observation) is label


@pytest.mark.parametrize(
    ("text", "observation", "label"),
    [
        ("Atelectasis vs. pneumonia.", "Atelectasis", U),
        ("Atelectasis vs. pneumonia.", "Pneumonia", U),
        ("Atelectasis vs.pneumonia.", "Pneumonia", U),
        ("Atelectasis vs pneumonia.", "Atelectasis", U),
        ("Atelectasis. Pneumonia.", "Pneumonia", P),
        ("Rule out pneumonia.", "Pneumonia", U),
        ("R/o pneumonia.", "Pneumonia", U),
        ("Small effusion, r/o pneumonia.", "Pleural Effusion", P),
        ("CT to rule out nodule.", "Lung Lesion", U),
        ("CT rules out a nodule.", "Lung Lesion", A),
        ("Pneumonia has been ruled out.", "Pneumonia", A),
        ("Evaluate for pneumonia.", "Pneumonia", U),
        ("Evaluation for pneumonia shows no effusion.", "Pleural Effusion", A),
        ("No effusion, CT to rule out a nodule.", "Lung Lesion", U),
        ("CT for evaluation of the nodule.", "Lung Lesion", P),
        ("Repeat film to evaluate for change in the effusion.", "Pleural Effusion", P),
        ("Recommend CT to exclude a mass.", "Lung Lesion", U),
        ("CT excludes a mass.", "Lung Lesion", A),
        ("Pneumonia unlikely.", "Pneumonia", U),
        ("Pneumonia felt unlikely.", "Pneumonia", U),
        ("Pneumonia is felt to be unlikely.", "Pneumonia", U),
        ("Pneumonia is unlikely.", "Pneumonia", U),
        ("Pneumonia likely.", "Pneumonia", P),
        ("Small effusion, pneumonia unlikely.", "Pleural Effusion", P),
        ("Opacity is unlikely to represent pneumonia.", "Lung Opacity", P),
        ("Opacity is unlikely to represent pneumonia.", "Pneumonia", U),
        ("Doubt effusion.", "Pleural Effusion", U),
        ("Without doubt a large effusion.", "Pleural Effusion", P),
        ("Effusion of doubtful significance.", "Pleural Effusion", P),
    ],
)
def test_a_question_is_uncertain(text: str, observation: str, label: Label) -> None:
    assert label_of(text, observation) is label
    if label in (P, U):
        assert label_of(text, NO_FINDING) is B


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Large heart.", P),
        ("Globular heart.", P),
        ("Moderately large cardiac silhouette.", P),
        ("The heart is large.", P),
        ("The heart is not large.", A),
        ("The heart may be large.", U),
        ("Large hernia behind the heart.", B),
        ("Large effusion, normal heart.", A),
    ],
)
def test_a_large_heart(text: str, label: Label) -> None:
    assert label_of(text, "Cardiomegaly") is label


def test_a_comma_for_a_full_stop_rarely_changes_a_label(samples: Path) -> None:
    """Join pairs "No X. Y is Z." of real reports; when measured, 34 labels of 1,114 changed."""
    with (samples / "iu" / "filtered" / "indiana_reports.csv").open(newline="") as file:
        findings = [row["findings"].lower() for row in csv.DictReader(file)]
    pairs = {
        (negation, after)
        for text in findings
        for sentences in [[s.strip() for s in re.split(r"\.\s", text.rstrip(". "))]]
        for negation, after in pairwise(sentences)
        if re.match(r"(?:there (?:is|are) )?no ", negation)
        and not re.search(r"\b(?:no|without|not)\b", after)
    }
    assert len(pairs) > 1000
    rules = RuleLabeller()
    separate = rules.label([f"{negation}. {after}." for negation, after in sorted(pairs)])
    joined = rules.label([f"{negation}, {after}." for negation, after in sorted(pairs)])
    differ = sum(
        labels[name] is not joined_labels[name]
        for labels, joined_labels in zip(separate, joined, strict=True)
        for name in OBSERVATIONS[:-1]
    )
    assert differ / len(pairs) < 0.04
