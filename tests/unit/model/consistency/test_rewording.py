"""Another wording of a model's sentence: what says the same, and what does not."""

import pytest

from model.consistency import find_differences


@pytest.mark.parametrize(
    ("sentence", "wording"),
    [
        ("The lungs are clear.", "Lungs clear."),
        ("The heart is normal in size.", "Normal heart size."),
        ("Heart size is normal.", "The cardiac silhouette is within normal limits."),
        ("No pleural effusion or pneumothorax.", "Pleural effusion and pneumothorax are absent."),
        ("No acute cardiopulmonary process.", "No acute cardiopulmonary abnormality."),
        ("Osseous structures are intact.", "The bones are intact."),
        ("No pulmonary edema.", "No pulmonary oedema."),
        ("Small left pleural effusion.", "Small effusion on the left."),
        ("THE  LUNGS are clear.", "The lungs are clear."),
    ],
)
def test_wordings_that_say_the_same(sentence, wording):
    assert find_differences(sentence, wording) == ()
    assert find_differences(wording, sentence) == ()


@pytest.mark.parametrize(
    ("sentence", "wording", "named"),
    [
        ("No pleural effusion.", "Pleural effusion.", "Pleural Effusion: denied"),
        ("Pleural effusion.", "Possible pleural effusion.", "uncertain in the house's"),
        ("The lungs are clear.", "No focal consolidation.", "Consolidation: not mentioned"),
        ("No effusion.", "No effusion or pneumothorax.", "Pneumothorax: not mentioned"),
        ("Left pleural effusion.", "Right pleural effusion.", "The side: left"),
        ("No left pleural effusion.", "No right pleural effusion.", "The side: left"),
        ("Left pleural effusion.", "Pleural effusion.", "none in the house's"),
        (
            "Left effusion, right pneumothorax.",
            "Right effusion, left pneumothorax.",
            "The side of pneumothorax",
        ),
        ("Small effusion.", "Large effusion.", "The degree: small"),
        ("Upper lobe opacity.", "Lower lobe opacity.", "The place: upper"),
        ("Effusion is unchanged.", "Effusion.", "The change: the same"),
        ("Effusion has increased.", "Effusion has decreased.", "The change: more"),
        ("There is a 3 mm nodule.", "There is a 5 mm nodule.", "The numbers: 3"),
        ("Endotracheal tube in place.", "Nasogastric tube in place.", "The device"),
        ("No large effusion.", "No effusion.", "The degree: large"),
        ("The lungs are clear.", "The bones are intact.", "The organ: lungs"),
        ("The lungs are clear.", "The lungs are not clear.", "denies something"),
        ("The lungs are clear.", "The lungs are abnormal.", "calls something normal"),
        ("The lungs are clear.", "The lungs are probably clear.", "doubts something"),
        ("No acute cardiopulmonary process.", "Acute cardiopulmonary process.", "denies"),
        ("No hiatal hernia.", "Hiatal hernia.", "Other findings: no hernia"),
        ("Calcified granuloma.", "Scarring.", "Other findings"),
        ("Something else.", "Another thing.", "does not know what they are about"),
    ],
)
def test_wordings_that_say_something_else(sentence, wording, named):
    assert any(named in difference for difference in find_differences(sentence, wording))
    assert find_differences(wording, sentence)


def test_one_sentence_is_replaced_and_not_two():
    two = "The lungs are clear. The heart is normal."
    assert any("one sentence" in each for each in find_differences(two, two))
    assert find_differences("Lungs clear, vs. before.", "Lungs clear, vs. before.") == ()
