"""Which sentences compare with an earlier study."""

from __future__ import annotations

import pytest

from training.metrics.comparisons import compares_with_prior, split_sentences


@pytest.mark.parametrize(
    "sentence",
    [
        "Unchanged from prior.",
        "The effusion is unchanged.",
        "Again seen is a left pleural effusion.",
        "Compared with the prior study, the lungs are clearer.",
        "There has been interval development of a bandlike opacity.",
        "Stable appearance of the chest.",
        "Heart size remains normal.",
        "The consolidation has improved.",
        "New right upper lobe opacity.",
        "No significant interval change.",
        "Worsening edema since the last exam.",
        "The nodule is not seen on the previous radiograph.",
        "The effusion has not changed.",
        "Interval changes of edema.",
        "No substantial changes.",
        "Resolution of the pneumonia.",
    ],
)
def test_comparing(sentence: str) -> None:
    assert compares_with_prior(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "The lungs are clear.",
        "Degenerative changes of the thoracic spine.",
        "Chronic changes are seen in the right shoulder.",
        "No pleural effusion or pneumothorax.",
        "Prior median sternotomy.",
        "A left chest pacemaker is in place.",
        "Old healed rib fractures.",
        "The heart is enlarged.",
        "Left basilar opacity, atelectasis versus pneumonia.",
        "Emphysematous changes.",
        "Postoperative changes of the chest.",
        "Atherosclerotic changes of the aorta.",
        "Chronic interstitial lung changes.",
        "Changes of emphysema.",
        "No acute bony changes.",
        "High resolution CT is recommended.",
        "Follow-up to document resolution is recommended.",
        "Calcified lymph nodes are consistent with prior granulomatous disease.",
        "Sternotomy wires and surgical clips from prior CABG.",
        "The remaining osseous structures are unremarkable.",
        "Increased opacity of the right base compared to the left.",
        "A short-interval follow-up is recommended.",
    ],
)
def test_not_comparing(sentence: str) -> None:
    assert not compares_with_prior(sentence)


def test_sentences_joined_are_the_text() -> None:
    assert split_sentences("One. Two!  Three?") == ["One.", "Two!", "Three?"]
