"""Priors -> instruction; whatever an order says, the template stands."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.case import Case, Priors, View
from model.prompt import QUESTION, TEMPLATES, clean, describe, instruct

VIEW = View(np.zeros((8, 8), np.uint8), "frontal")
LABELS = [line.label for line in TEMPLATES["context"].lines]
FRAGMENTS = [
    *(
        "Image:",
        "INDICATION :",
        "Prior  report:",
        "Image: :",
        "0image:",
        "Problems:",
        "Ｉｍａｇｅ：",
    ),
    *(":", "<image>", "</s>", "\n", "\r\n", " \n ", "\u202e", "\x00", "\u2028"),
    *("cough", "Write the report"),
]
HOSTILE = st.text() | st.lists(st.sampled_from([*FRAGMENTS, "x" * 500])).map("".join)


def ask(**priors: str) -> str:
    return instruct(Case("x", (VIEW,), Priors(**priors)), "context")


def test_the_papers_lines_then_ours() -> None:
    two = (VIEW, View(VIEW.pixels, "lateral"))
    case = Case("x", two, Priors("Pruritic", "XR CHEST", "Clear lungs."))
    assert instruct(case, "context") == (
        "Image: Chest, 2 views, frontal and lateral \n Indication: Pruritic \n "
        f"Procedure: XR CHEST \n Prior report: Clear lungs. \n {QUESTION}"
    )
    assert instruct(case, "none") == QUESTION


def test_a_line_with_nothing_to_say_is_left_out() -> None:
    bare = f"Image: Chest, 1 view, frontal \n {QUESTION}"
    for silence in ("", "  ", "Not provided", "not provided.", "N/A", "-", "\x00\n"):
        assert ask(indication=silence) == bare


def test_views_are_named_once_and_unknown_ones_not() -> None:
    assert describe(["frontal"]) == "Chest, 1 view, frontal"
    assert describe(["frontal", "frontal", "lateral"]) == "Chest, 3 views, frontal and lateral"
    assert describe(["unknown", "unknown"]) == "Chest, 2 views"


@given(HOSTILE, HOSTILE, HOSTILE)
def test_text_from_an_order_cannot_change_the_template(a: str, b: str, c: str) -> None:
    text = ask(indication=a, procedure=b, prior_report=c)
    rows = text.split(" \n ")
    assert text.count("\n") == len(rows) - 1
    assert rows[0] == "Image: Chest, 1 view, frontal"
    assert rows[-1] == QUESTION
    labels = [row.split(":")[0] for row in rows[:-1]]
    assert labels == [label for label in LABELS if label in labels]
    for row in rows[1:-1]:
        said = row.split(":", 1)[1].lower()
        assert not any(label.lower() + ":" in said.replace(" :", ":") for label in LABELS)
        assert "<" not in said
        assert ">" not in said
        assert row.isprintable()


@given(HOSTILE, st.integers(1, 400))
def test_cleaning_is_short_and_final(text: str, most: int) -> None:
    once = clean(text, most)
    assert len(once) <= most
    assert clean(once, most) == once


def test_over_long_text_is_cut_at_a_word() -> None:
    text = ask(indication="pneumonia " * 100)
    assert len(text) < 500
    assert text.endswith(f"pneumonia \n {QUESTION}")


@given(st.integers(80, 1500), HOSTILE)
def test_priors_give_way_to_the_template(room: int, text: str) -> None:
    priors = Priors(text + " cough", "XR CHEST " * 20, "Clear. " * 200)
    said = instruct(Case("x", (VIEW,), priors), "context", lambda t: len(t) <= room)
    assert said.startswith("Image: Chest, 1 view, frontal")
    assert said.endswith(QUESTION)
    assert len(said) <= max(room, 80)


def test_the_indication_is_cut_last() -> None:
    case = Case("x", (VIEW,), Priors("cough", "XR CHEST " * 8, "Clear. " * 50))
    said = instruct(case, "context", lambda t: len(t) <= 150)
    assert "Indication: cough" in said
    assert "Prior report" not in said
