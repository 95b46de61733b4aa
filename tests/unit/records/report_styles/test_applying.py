"""House wordings in a draft: which sentences are replaced, and how they are found again."""

import pytest

from records.report_styles.applying import apply, begin_from, list_standing, take_back
from records.report_styles.content import PLAIN, StyleContent, Wording

CLEAR = Wording("The lungs are clear.", "Lungs clear.")
HEART = Wording("Heart size is normal.", "Normal heart.")


def style(*wordings):
    return StyleContent("North", PLAIN.sections, wordings)


def sections(findings, impression=""):
    return {"findings": findings, "impression": impression}


@pytest.mark.parametrize(
    ("written", "styled"),
    [
        ("The lungs are clear.", "Lungs clear."),
        ("  the LUNGS\n are   clear. No effusion.", "  Lungs clear. No effusion."),
        ("No effusion. The lungs are clear.", "No effusion. Lungs clear."),
        ("No effusion\nThe lungs are clear.", "No effusion\nLungs clear."),
        ("1. The lungs are clear. 2. No effusion.", "1. Lungs clear. 2. No effusion."),
        ("Lungs: The lungs are clear.", "Lungs: Lungs clear."),
        # Only a whole sentence is the sentence.
        ("As before, the lungs are clear.", "As before, the lungs are clear."),
        ("The lungs are clear. and white", "Lungs clear. and white"),
        ("The lungs are clear.2", "The lungs are clear.2"),
        ("The lungs are clear", "The lungs are clear"),
        ("Xthe lungs are clear.", "Xthe lungs are clear."),
        ("", ""),
    ],
)
def test_whole_sentences_alone_are_replaced(written, styled):
    done = apply(style(CLEAR), written, "")
    assert done.findings == styled
    assert len(done.replacements) == (written != styled)


def test_a_sentence_without_a_full_stop_ends_with_its_line():
    wording = Wording("No acute disease", "Normal")
    assert apply(style(wording), "No acute disease", "").findings == "Normal"
    assert apply(style(wording), "No acute disease\nNext.", "").findings == "Normal\nNext."
    kept = "No acute disease of the heart."
    assert apply(style(wording), kept, "").findings == kept


def test_each_replacement_says_what_the_model_wrote():
    done = apply(style(CLEAR, HEART), "the lungs are clear. Heart size is normal.", HEART.model)
    assert (done.findings, done.impression) == ("Lungs clear. Normal heart.", "Normal heart.")
    assert [(each.section, each.model, each.number) for each in done.replacements] == [
        ("findings", "the lungs are clear.", 0),
        ("findings", "Heart size is normal.", 1),
        ("impression", "Heart size is normal.", 2),
    ]


def test_a_wording_is_not_applied_to_what_another_one_wrote():
    first = Wording("The lungs are clear.", "Heart size is normal.")
    assert apply(style(first, HEART), "The lungs are clear.", "").findings == HEART.model


def test_a_style_without_wordings_changes_nothing():
    assert apply(PLAIN, "a  b", "c").findings == "a  b"


def test_neither_the_houses_words_nor_taking_them_back_is_a_change_of_the_reader():
    content = style(CLEAR, HEART)
    draft = sections("The lungs are clear. Heart size is normal.", "The lungs are clear.")
    kept = sections("Lungs clear. Normal heart.", "Lungs clear.")
    assert begin_from(content, draft, kept) == kept
    back = sections("The lungs are clear. Normal heart.", "Lungs clear.")
    assert begin_from(content, draft, back) == back
    # What the reader wrote is counted from the house's words.
    own = sections("Lungs clear on both sides. Normal heart.", "Lungs clear.")
    assert begin_from(content, draft, own) == kept


def test_of_two_equal_sentences_each_is_counted_by_itself():
    draft = sections("The lungs are clear. No effusion. The lungs are clear.")
    for text in (
        "The lungs are clear. No effusion. Lungs clear.",
        "Lungs clear. No effusion. The lungs are clear.",
    ):
        assert begin_from(style(CLEAR), draft, sections(text))["findings"] == text
        assert len(list_standing(style(CLEAR), draft, sections(text))) == 1


def test_what_still_stands_is_listed_and_can_be_taken_back_once():
    draft = sections("The lungs are clear. Heart size is normal.")
    standing = list_standing(style(CLEAR, HEART), draft, sections("Lungs clear. Heart large."))
    assert [each.house for each in standing] == ["Lungs clear."]
    (clear,) = standing
    assert take_back("Lungs clear. Lungs clear.", clear) == "The lungs are clear. Lungs clear."
    assert take_back("Heart large.", clear) == "Heart large."
