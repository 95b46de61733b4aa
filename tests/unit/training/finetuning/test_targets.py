"""A report without the words that compare: the finding stays, and what is left can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.labels import NO_FINDING, Label, RuleLabeller
from training.corpus.example import Example
from training.corpus.registry import open_corpus
from training.finetuning.targets import remove_comparisons, without_comparison
from training.metrics.comparisons import compares_with_prior


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        # before a noun
        (
            "Stable calcified granuloma within the right upper lung.",
            "Calcified granuloma within the right upper lung.",
        ),
        ("There is a stable enlarged heart.", "There is an enlarged heart."),
        ("Note is made of an unchanged hiatal hernia.", "Note is made of a hiatal hernia."),
        ("Stable position of the left PICC.", "Left PICC."),
        (
            "There is grossly stable left lower lobe consolidation.",
            "There is left lower lobe consolidation.",
        ),
        ("New right upper lobe opacity.", "Right upper lobe opacity."),
        # a predicate
        ("Mild cardiomegaly is unchanged.", "Mild cardiomegaly."),
        ("The calcified granulomas are stable.", "Calcified granulomas."),
        ("Heart size is stable and within normal limits.", "Heart size is within normal limits."),
        ("The heart is enlarged but stable.", "The heart is enlarged."),
        (
            "Densities are unchanged from prior and indicate old disease.",
            "Densities indicate old disease.",
        ),
        ("Right PICC is unchanged with tip in the SVC.", "Right PICC with tip in the SVC."),
        ("Numerous nodules have increased in size since the prior study.", "Numerous nodules."),
        ("The lungs remain clear.", "The lungs are clear."),
        ("Heart size remains normal.", "Heart size is normal."),
        ("An opacity persists in the right base.", "An opacity is present in the right base."),
        # a clause
        ("There is a nodule, unchanged from the prior study of 2011.", "There is a nodule."),
        ("There is a nodule which is similar to the previous CT.", "There is a nodule."),
        ("A 9 mm nodule, not seen on prior exams.", "A 9 mm nodule."),
        ("Left effusion, increased since 3/4/2011.", "Left effusion."),
        ("The heart is enlarged with no comparison studies.", "The heart is enlarged."),
        ("Mild fullness of the hilum, without significant change.", "Mild fullness of the hilum."),
        # the course of a finding
        (
            "There has been interval development of bandlike opacities in the left base.",
            "There are bandlike opacities in the left base.",
        ),
        ("Interval improvement in left pleural effusion.", "Left pleural effusion."),
        ("No significant change in the large hernia.", "Large hernia."),
        (
            "In the interval, a nodule has developed in the left lower lobe.",
            "A nodule is present in the left lower lobe.",
        ),
        ("Redemonstration of moderate left pneumothorax.", "Moderate left pneumothorax."),
        ("Again seen is a left pleural effusion.", "There is a left pleural effusion."),
        ("Compared with the prior study, there is new edema.", "There is edema."),
        # a part of a sentence goes where it says nothing else
        (
            "Heart size mildly enlarged, stable mediastinal and hilar contours.",
            "Heart size mildly enlarged.",
        ),
        ("The mediastinum is stable with a tortuous aorta.", "A tortuous aorta."),
        ("Cardiomegaly, no new infiltrate, effusion or pneumothorax.", "Cardiomegaly."),
        (
            "Interval removal of the chest tube with right basilar atelectasis.",
            "Right basilar atelectasis.",
        ),
        # the whole sentence goes
        ("No change from prior.", ""),
        ("The mediastinum is stable.", ""),
        ("This is unchanged.", ""),
        ("No significant interval change.", ""),
        ("The effusion has resolved.", ""),
        ("Opacities, consolidation, and effusion have resolved.", ""),
        ("No new consolidation.", ""),
        ("Interval removal of the endotracheal tube.", ""),
        # no comparison
        ("No acute bony changes.", "No acute bony changes."),
        ("Clips from prior CABG.", "Clips from prior CABG."),
        ("Prior median sternotomy.", "Prior median sternotomy."),
    ],
)
def test_a_sentence_without_its_comparing_words(sentence: str, expected: str) -> None:
    assert without_comparison(sentence) == expected


def test_a_finding_weighs_more_than_its_comparison() -> None:
    sentence = "Comparison to the study of 2011 shows this opacity to have decreased."
    assert without_comparison(sentence) == sentence


def test_a_report_keeps_its_headings_and_is_never_empty() -> None:
    text = "Findings: Clear lungs. The heart is unchanged. Impression: Stable chest. Clear."
    assert remove_comparisons(text) == "Findings: Clear lungs. Impression: Clear."
    assert remove_comparisons("Stable chest.") == "Stable chest."
    assert remove_comparisons("The lungs are clear.") == "The lungs are clear."
    assert remove_comparisons("") == ""


@given(
    st.lists(
        st.sampled_from(
            [
                "stable",
                "unchanged",
                "the",
                "a",
                "effusion",
                "nodule",
                "is",
                "are",
                "from",
                "prior",
                "study",
                "with",
                "and",
                ",",
                "no",
                "new",
                "has",
                "increased",
                "resolved",
                "interval",
                "in",
                "of",
                "since",
                "again",
                "seen",
                "heart",
                "enlarged",
                "normal",
                ".",
                ";",
            ]
        ),
        max_size=25,
    )
)
def test_any_words_end_and_invent_no_positive_label(words: list[str]) -> None:
    text = " ".join(words)
    before, after = RuleLabeller().label([text, remove_comparisons(text)])
    # In free text a sentence is what split_sentences takes for one, so a loss across a boundary
    # that the labeller sees elsewhere is possible; an invented finding is not.
    assert {n for n, label in after.items() if label is Label.PRESENT} - {NO_FINDING} <= {
        n for n, label in before.items() if label is Label.PRESENT
    }


@pytest.mark.slow
def test_no_positive_label_of_iu_x_ray_is_lost(samples: Path) -> None:
    corpus = open_corpus(f"iu_xray:{samples / 'iu'}", needs_images=False)
    targets = [study.target for study in corpus.read() if isinstance(study, Example)]
    shortened = [remove_comparisons(target) for target in targets]
    labeller = RuleLabeller()
    positive = 0
    for before, after in zip(labeller.label(targets), labeller.label(shortened), strict=True):
        present = {name for name in before if before[name] is Label.PRESENT} - {NO_FINDING}
        assert present == {name for name in after if after[name] is Label.PRESENT} - {NO_FINDING}
        positive += len(present)
    changed = sum(new != old for new, old in zip(shortened, targets, strict=True))
    # The figures of docs/train/training.md.
    assert (len(targets), positive, changed) == (3328, 1459, 810)
    sentences = {s for text in shortened for s in text.split(". ") if compares_with_prior(s)}
    assert len(sentences) <= 10
