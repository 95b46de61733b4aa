"""Priors -> instruction; whatever an order says, the template stands."""

from __future__ import annotations

import functools
import re
import unicodedata
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from model.case import Case, Priors, View, pack, unpack
from model.errors import BundleError, TemplateError
from model.manifest import SHIPPED, Manifest, read_manifest
from model.prompting.oracle import Oracle, instruct_from_report
from model.prompting.prompt import (
    QUESTION,
    TEMPLATES,
    Fits,
    Source,
    Symptoms,
    clean,
    describe,
    instruct,
    template_of,
)

VIEW = View(np.zeros((8, 8), np.uint8), "frontal")
TWO = (VIEW, View(VIEW.pixels, "lateral"))
LABELS = sorted({line.label for template in TEMPLATES.values() for line in template.lines})

BLANKS = [
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "\u00a0",
    "\u2003",
    "\u200b",
    "\u00ad",
    "\u202e",
    "\ufe0f",
    "▁",
]
COLONS = [":", " :", "::", "：", "﹕", "︓", "∶", "꞉", "׃", "\u200b:", ":\u0301"]
TOKENS = [
    "</s>",
    "<extra_id_0>",
    "<image>",
    "<pad>",
    "[SEP]",
    "[CLS]",
    "[DEC]",
    "＜/s＞",
    "［SEP］",
]
CYRILLIC = str.maketrans("aeiopcIP", "аеіорсІР")


def spelled(label: str) -> st.SearchStrategy[str]:
    """A label as somebody would smuggle it: split, in other letters, with another colon."""
    loud = st.sampled_from([label, label.upper(), label.lower(), label.translate(CYRILLIC)])
    wide = loud | loud.map(lambda t: "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in t))
    split = st.builds(
        lambda text, blank, at: text[: at % len(text)] + blank + text[at % len(text) :],
        wide,
        st.sampled_from(BLANKS),
        st.integers(0, 40),
    )
    return st.builds(str.__add__, split, st.sampled_from(COLONS))


HOSTILE = st.text(st.characters()) | st.lists(
    st.one_of(
        *(spelled(label) for label in LABELS),
        st.sampled_from([*TOKENS, *BLANKS, QUESTION, QUESTION.upper(), "\x00", "\ud800"]),
        st.sampled_from(["\r\n", " \n ", "\u2028", "cough", "10:30", "x" * 700, "Write the"]),
    )
).map("".join)


def ask(**priors: str) -> str:
    return instruct(Case("x", (VIEW,), Priors(**priors)), "context")


def rows_of(text: str, template: str) -> list[tuple[str, str]]:
    """(label, what it says) of each line, once the template has been found to stand."""
    known = TEMPLATES[template]
    *rows, last = text.split(" \n " if known.question else " \n")
    rows = [row.removeprefix(" ") for row in rows] if not known.question else rows
    assert text.count("\n") == len(rows)
    assert last == known.question
    split = [tuple(row.split(": ", 1)) for row in rows]
    labels = [label for label, _ in split]
    allowed = [line.label for line in known.lines]
    assert labels == (allowed if known.whole else [a for a in allowed if a in labels])
    for _, said in split:
        assert said.isprintable()
        assert unicodedata.normalize("NFKC", said) == said
        assert not set("<>[]▁∶꞉׃") & set(said)
        assert not re.search(r"\D:|:\D", f" {said} "), "a colon between digits alone"
        assert QUESTION.rstrip(".").lower() not in said.lower()
    return split


def test_the_papers_lines_then_ours() -> None:
    case = Case("x", TWO, Priors("Pruritic", "XR CHEST", "Clear lungs."))
    assert instruct(case, "context") == (
        "Image: Chest, 2 views, frontal and lateral \n Indication: Pruritic \n "
        f"Procedure: XR CHEST \n Prior report: Clear lungs. \n {QUESTION}"
    )
    assert instruct(case, "none") == QUESTION


def test_the_papers_examples_to_the_letter() -> None:
    case = Case("x", TWO, Priors("Pruritic"))
    normal = Oracle(problems=("normal",))
    exact = (
        "Problems: normal \n Image: Chest, 2 views, frontal and lateral \n Indication: Pruritic \n"
    )
    assert instruct_from_report(case, normal, "oracle_iu") == exact
    said = replace(normal, image="Chest, 2 views, frontal and lateral")
    assert instruct_from_report(Case("x", (VIEW,), case.priors), said, "oracle_iu") == exact

    chexbert = Oracle(
        symptoms=Symptoms(("Cardiomegaly", "Atelectasis"), ("Edema", "Consolidation"))
    )
    assert instruct_from_report(case, chexbert, "oracle_mimic") == (
        "Symptoms of existence: Cardiomegaly, Atelectasis \n "
        "Symptoms of non-existence: Edema, Consolidation \n"
    )


def test_the_papers_lines_stay_with_nothing_to_say() -> None:
    case = Case("x", (VIEW,))
    iu, mimic = (instruct_from_report(case, Oracle(), t) for t in ("oracle_iu", "oracle_mimic"))
    assert iu == "Problems: {} \n Image: {} \n Indication: {} \n".format(
        "", "Chest, 1 view, frontal", ""
    )
    assert mimic == "Symptoms of existence: {} \n Symptoms of non-existence: {} \n".format("", "")


def test_predicted_is_the_papers_symptoms_and_what_a_hospital_has() -> None:
    case = Case("x", (VIEW,), Priors("cough"))
    assert instruct(case, "predicted", symptoms=Symptoms(("Edema",))) == (
        f"Symptoms of existence: Edema \n Image: Chest, 1 view, frontal \n Indication: cough \n "
        f"{QUESTION}"
    )


@pytest.mark.parametrize("template", ["oracle_iu", "oracle_mimic"])
def test_what_serves_cannot_fill_the_papers_templates(template: str) -> None:
    case = Case("x", (VIEW,), Priors("cough"))
    with pytest.raises(TemplateError, match="evaluation only"):
        instruct(case, template)
    with pytest.raises(TemplateError, match="evaluation only"):
        instruct(case, template, symptoms=Symptoms(("Edema",)))
    assert not {f.name for f in fields(Priors)} & {f.name for f in fields(Oracle)}


def test_templates_are_filled_from_their_own_source_alone() -> None:
    case = Case("x", (VIEW,))
    with pytest.raises(TemplateError, match="go together"):
        instruct(case, "predicted")
    with pytest.raises(TemplateError, match="go together"):
        instruct(case, "context", symptoms=Symptoms())
    with pytest.raises(TemplateError, match="takes nothing from the report"):
        instruct_from_report(case, Oracle(), "context")
    with pytest.raises(TemplateError, match="there is no template 'report'"):
        instruct(case, "report")


def test_a_packed_case_keeps_its_priors() -> None:
    case = Case("x", (VIEW,), Priors("cough", "XR CHEST", "Clear."))
    assert unpack(pack(case)).priors == case.priors


def manifest(**changed: object) -> Manifest:
    return replace(read_manifest("demo"), **changed)


def test_a_bundle_is_served_with_a_template_that_it_was_trained_with() -> None:
    both = manifest(templates=("none",))
    assert template_of(both) == "context"
    assert template_of(both, "none") == "none"
    with pytest.raises(TemplateError, match=r"phantoms 2.* not trained with .*'none'.*'context'"):
        template_of(manifest(templates=()), "none")
    with pytest.raises(BundleError, match="there is no template 'poem'"):
        template_of(manifest(template="poem"))


def test_the_papers_templates_are_refused_outside_evaluation() -> None:
    published = manifest(template="oracle_iu", templates=("context",))
    with pytest.raises(TemplateError, match="evaluation only"):
        template_of(published)
    assert template_of(published, "context") == "context"
    assert template_of(published, evaluation=True) == "oracle_iu"
    with pytest.raises(TemplateError, match="not trained with"):
        template_of(published, "oracle_mimic", evaluation=True)


@pytest.mark.parametrize("evaluation", [False, True])
def test_predicted_is_refused_until_a_classifier_fills_it(evaluation: bool) -> None:
    bare = manifest(template="predicted")
    with pytest.raises(TemplateError, match="names no classifier"):
        template_of(bare, evaluation=evaluation)
    named = replace(bare, classifier="eye")
    with pytest.raises(TemplateError, match="'eye', which is not to be had here"):
        template_of(named, evaluation=evaluation)
    assert template_of(named, evaluation=evaluation, classifiers=("eye",)) == "predicted"
    with pytest.raises(TemplateError, match="names no classifier"):
        template_of(bare, evaluation=evaluation, classifiers=("eye",))


def test_a_line_with_nothing_to_say_is_left_out() -> None:
    bare = f"Image: Chest, 1 view, frontal \n {QUESTION}"
    for silence in ("", "  ", "Not provided", "not provided.", "N/A", "-", "\x00\n", QUESTION):
        assert ask(indication=silence) == bare


def test_views_are_named_once_and_unknown_ones_not() -> None:
    assert describe(["frontal"]) == "Chest, 1 view, frontal"
    assert describe(["frontal", "frontal", "lateral"]) == "Chest, 3 views, frontal and lateral"
    assert describe(["unknown", "unknown"]) == "Chest, 2 views"


def test_what_a_reader_would_miss_is_kept() -> None:
    said = ask(indication="SOB since 10:30, r/o pneumonia (L>R)\nfever 38.5 °C; s/p CABG 3:1")
    assert said == (
        "Image: Chest, 1 view, frontal \n Indication: "
        f"SOB since 10:30, r/o pneumonia (L R) fever 38.5 °C; s/p CABG 3:1 \n {QUESTION}"
    )


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_text_from_an_order_cannot_change_the_template(a: str, b: str, c: str, view: str) -> None:
    views = (View(VIEW.pixels, view),)
    case = Case("x", views, Priors(a, b, c))
    symptoms = Symptoms((a, b), (c,))
    oracle = Oracle((a, b), view, symptoms)
    assert rows_of(instruct(case, "context"), "context")[0][0] == "Image"
    assert rows_of(instruct(case, "none"), "none") == []
    rows_of(instruct(case, "predicted", symptoms=symptoms), "predicted")
    for template in ("oracle_iu", "oracle_mimic"):
        rows_of(instruct_from_report(case, oracle, template), template)


@functools.cache
def tokenizer(name: str) -> Tokenizer:
    return Tokenizer.from_file(str(SHIPPED["demo"] / name / "tokenizer.json"))


@given(HOSTILE)
def test_no_special_token_comes_from_an_order(text: str) -> None:
    said = ask(indication=text, prior_report=text)
    for name in ("language", "asking"):
        read = tokenizer(name).encode(said)
        bare = tokenizer(name).encode(said, add_special_tokens=False)
        special = {t.content for t in tokenizer(name).get_added_tokens_decoder().values()}
        assert not special & set(bare.tokens) - {"<unk>", "[UNK]"}
        assert len(read.ids) > len(bare.ids), "the tokenizer has special tokens to tell apart"


@given(HOSTILE, st.integers(1, 400))
def test_cleaning_is_short_and_final(text: str, most: int) -> None:
    once = clean(text, most)
    assert len(once) <= most
    assert clean(once, most) == once


def test_over_long_text_is_cut_at_a_word() -> None:
    text = ask(indication="pneumonia " * 100)
    assert len(text) < 500
    assert text.endswith(f"pneumonia \n {QUESTION}")


def at_most(room: int) -> Fits:
    return lambda text: len(text) <= room


@given(st.integers(0, 1500), HOSTILE)
def test_priors_give_way_to_the_template(room: int, text: str) -> None:
    case = Case("x", (VIEW,), Priors(text + " cough", "XR CHEST " * 20, "Clear. " * 200))
    own = f"Image: Chest, 1 view, frontal \n {QUESTION}"
    said = instruct(case, "context", at_most(room))
    rows_of(said, "context")
    assert said.startswith("Image: Chest, 1 view, frontal \n ")
    assert len(said) <= max(room, len(own))


@given(st.integers(0, 1500), HOSTILE)
def test_the_papers_labels_stay_however_small_the_room(room: int, text: str) -> None:
    case = Case("x", (VIEW,), Priors(text + " cough"))
    oracle = Oracle((text, "Opacity"), "Chest" * 30, Symptoms((text,), ("Edema",) * 40))
    for template in ("oracle_iu", "oracle_mimic"):
        own = "".join(f"{line.label}:  \n " for line in TEMPLATES[template].lines)
        said = instruct_from_report(case, oracle, template, at_most(room))
        rows_of(said, template)
        assert len(said) <= max(room, len(own) - 1)


def test_the_last_line_gives_way_first_and_no_more_than_it_must() -> None:
    case = Case("x", (VIEW,), Priors("cough", "XR CHEST " * 8, "Clear. " * 50))
    said = instruct(case, "context", at_most(150))
    assert "Indication: cough" in said
    assert "Prior report" not in said
    assert len(said) > 150 - len(" CHEST"), "all the room is used, to a word"
    roomy = instruct(case, "context", at_most(250))
    assert "Procedure: " + ("XR CHEST " * 8).strip() in roomy
    assert len(roomy) > 250 - len(" Clear.")


def test_every_template_is_one_of_three_kinds() -> None:
    served = {name for name, template in TEMPLATES.items() if template.source is Source.ORDER}
    assert served == {"context", "none"}
    for label in LABELS:
        assert label[-1].isalpha(), "a colon between digits is data"
