import datetime as dt

import pytest

from api.rendering import STATE_SENTENCES, UNSURE, day, duration, marked, person, render
from records.states import VisibleState


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("MEIER^ANNA", "MEIER, ANNA"),
        ("Meier^Anna^Maria^Dr^jr", "Meier, Anna Maria (Dr jr)"),
        ("Yamada^Tarou=山田^太郎", "Yamada, Tarou / 山田, 太郎"),
        ("^^^^", ""),
        ("", ""),
        ("ONE NAME ONLY", "ONE NAME ONLY"),
        ("A^B^C^D^E^F^G", "A, B C (D E)"),
    ],
)
def test_a_person_name_is_readable(sent, shown):
    assert person(sent) == shown


def test_a_date_that_is_none_is_shown_as_sent():
    assert day("20261124") == "2026-11-24"
    assert day("2026.11.24") == "2026.11.24"
    assert day("<b>") == "<b>"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (89, "89 s"), (600, "10 min"), (3 * 3600 + 300, "3 h 05 min")],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


def test_every_state_has_a_sentence():
    assert set(STATE_SENTENCES) == set(VisibleState)


def test_whatever_is_rendered_is_escaped():
    page = render("problem.html", title="<script>alert(1)</script>", detail="a & b", status=404)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_times_carry_their_zone():
    from api.rendering import moment

    shown = moment(dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC))
    assert len(shown.split()) == 3


def said(text, confidence, section="findings"):
    return {"section": section, "text": text, "confidence": confidence, "least": 0.1}


def test_sentences_whose_words_the_model_was_unsure_of_are_marked_in_their_place():
    text = "No nodule.  No nodule.\nClear."
    sentences = [said("No nodule.", UNSURE), said("No nodule.", 0.4), said("Clear.", 0.9)]
    pieces = marked(text, "findings", sentences)
    assert "".join(piece for piece, _ in pieces) == text
    assert [(piece, unsure["confidence"]) for piece, unsure in pieces if unsure] == [
        ("No nodule.", 0.4)
    ]
    assert pieces[0][0] == "No nodule.  "


@pytest.mark.parametrize(
    "sentences", [None, [], [said("Other.", 0.1)], [said("Clear.", 0.1, "impression")]]
)
def test_sentences_that_are_not_there_change_nothing(sentences):
    assert marked("Clear.", "findings", sentences) == [("Clear.", None)]
