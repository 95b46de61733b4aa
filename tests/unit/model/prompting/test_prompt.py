"""Priors become an instruction; whatever text an order has, the template keeps its form."""

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
from model.prompting.oracle import Oracle, build_oracle_instruction
from model.prompting.prompt import (
    QUESTION,
    TEMPLATES,
    Fits,
    PriorSource,
    Symptoms,
    build_instruction,
    choose_template,
    clean_prior,
    describe_given,
    describe_views,
    read_prior,
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
    """Return spellings of a label that an attacker may try: split, other letters, other colons."""
    plain = st.sampled_from([label, label.upper(), label.lower(), label.translate(CYRILLIC)])
    letters = plain | plain.map(
        lambda t: "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in t)
    )
    split = st.builds(
        lambda text, blank, n: text[: n % len(text)] + blank + text[n % len(text) :],
        letters,
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


def context_instruction(**priors: str) -> str:
    return build_instruction(Case("x", (VIEW,), Priors(**priors)), "context")


def rows_of(text: str, template: str) -> list[tuple[str, str]]:
    """Return (label, text) of each line, after checking that the template has kept its form."""
    expected = TEMPLATES[template]
    *rows, last = text.split(" \n " if expected.question else " \n")
    rows = [row.removeprefix(" ") for row in rows] if not expected.question else rows
    assert text.count("\n") == len(rows)
    assert last == expected.question
    split = [tuple(row.split(": ", 1)) for row in rows]
    labels = [label for label, _ in split]
    allowed = [line.label for line in expected.lines]
    assert labels == (allowed if expected.keep_empty_lines else [a for a in allowed if a in labels])
    for _, value in split:
        assert value.isprintable()
        assert unicodedata.normalize("NFKC", value) == value
        assert not set("<>[]▁∶꞉׃") & set(value)
        assert not re.search(r"\D:|:\D", f" {value} "), "a colon stays only between digits"
        assert QUESTION.rstrip(".").lower() not in value.lower()
    return split


def test_the_papers_lines_then_ours() -> None:
    case = Case("x", TWO, Priors("Pruritic", "XR CHEST", "Clear lungs."))
    assert build_instruction(case, "context") == (
        "Image: Chest, 2 views, frontal and lateral \n Indication: Pruritic \n "
        f"Procedure: XR CHEST \n Prior report: Clear lungs. \n {QUESTION}"
    )
    assert build_instruction(case, "none") == QUESTION


def test_the_papers_examples_to_the_letter() -> None:
    case = Case("x", TWO, Priors("Pruritic"))
    normal = Oracle(problems=("normal",))
    exact = (
        "Problems: normal \n Image: Chest, 2 views, frontal and lateral \n Indication: Pruritic \n"
    )
    assert build_oracle_instruction(case, normal, "oracle_iu") == exact
    described = replace(normal, image="Chest, 2 views, frontal and lateral")
    one_view = Case("x", (VIEW,), case.priors)
    assert build_oracle_instruction(one_view, described, "oracle_iu") == exact

    chexbert = Oracle(
        symptoms=Symptoms(("Cardiomegaly", "Atelectasis"), ("Edema", "Consolidation"))
    )
    assert build_oracle_instruction(case, chexbert, "oracle_mimic") == (
        "Symptoms of existence: Cardiomegaly, Atelectasis \n "
        "Symptoms of non-existence: Edema, Consolidation \n"
    )


def test_the_papers_lines_stay_when_they_are_empty() -> None:
    case = Case("x", (VIEW,))
    iu, mimic = (build_oracle_instruction(case, Oracle(), t) for t in ("oracle_iu", "oracle_mimic"))
    assert iu == "Problems: {} \n Image: {} \n Indication: {} \n".format(
        "", "Chest, 1 view, frontal", ""
    )
    assert mimic == "Symptoms of existence: {} \n Symptoms of non-existence: {} \n".format("", "")


def test_predicted_is_the_papers_symptoms_and_what_a_hospital_knows() -> None:
    case = Case("x", (VIEW,), Priors("cough"))
    assert build_instruction(case, "predicted", symptoms=Symptoms(("Edema",))) == (
        f"Symptoms of existence: Edema \n Image: Chest, 1 view, frontal \n Indication: cough \n "
        f"{QUESTION}"
    )


@pytest.mark.parametrize("template", ["oracle_iu", "oracle_mimic"])
def test_what_serves_cannot_fill_the_papers_templates(template: str) -> None:
    case = Case("x", (VIEW,), Priors("cough"))
    with pytest.raises(TemplateError, match="evaluation only"):
        build_instruction(case, template)
    with pytest.raises(TemplateError, match="evaluation only"):
        build_instruction(case, template, symptoms=Symptoms(("Edema",)))
    assert not {f.name for f in fields(Priors)} & {f.name for f in fields(Oracle)}


def test_templates_are_filled_from_their_own_source_alone() -> None:
    case = Case("x", (VIEW,))
    with pytest.raises(TemplateError, match="go together"):
        build_instruction(case, "predicted")
    with pytest.raises(TemplateError, match="go together"):
        build_instruction(case, "context", symptoms=Symptoms())
    with pytest.raises(TemplateError, match="takes nothing from the report"):
        build_oracle_instruction(case, Oracle(), "context")
    with pytest.raises(TemplateError, match="there is no template 'report'"):
        build_instruction(case, "report")


def test_a_packed_case_keeps_its_priors() -> None:
    case = Case("x", (VIEW,), Priors("cough", "XR CHEST", "Clear."))
    assert unpack(pack(case)).priors == case.priors


def manifest(**changed: object) -> Manifest:
    """The shipped bundle's, without its finding head."""
    without_head = replace(read_manifest("demo"), finding_head={}, classifier="")
    return replace(without_head, **changed)


def test_a_bundle_is_served_with_a_template_that_it_was_trained_with() -> None:
    two_templates = manifest(templates=("none",))
    assert choose_template(two_templates) == "context"
    assert choose_template(two_templates, "none") == "none"
    with pytest.raises(TemplateError, match=r"phantoms 4.* not trained with .*'none'.*'context'"):
        choose_template(manifest(templates=()), "none")
    with pytest.raises(BundleError, match="there is no template 'poem'"):
        choose_template(manifest(template="poem"))


def test_the_papers_templates_are_refused_outside_evaluation() -> None:
    published = manifest(template="oracle_iu", templates=("context",))
    with pytest.raises(TemplateError, match="evaluation only"):
        choose_template(published)
    assert choose_template(published, "context") == "context"
    assert choose_template(published, evaluation=True) == "oracle_iu"
    with pytest.raises(TemplateError, match="not trained with"):
        choose_template(published, "oracle_mimic", evaluation=True)


@pytest.mark.parametrize("evaluation", [False, True])
def test_predicted_is_refused_until_a_classifier_fills_it(evaluation: bool) -> None:
    unnamed = manifest(template="predicted")
    with pytest.raises(TemplateError, match="names no classifier"):
        choose_template(unnamed, evaluation=evaluation)
    named = replace(unnamed, classifier="densenet")
    with pytest.raises(TemplateError, match="'densenet', which is not available here"):
        choose_template(named, evaluation=evaluation)
    headed = replace(unnamed, classifier="finding_head", finding_head={"observations": ["Edema"]})
    assert choose_template(headed, evaluation=evaluation) == "predicted"
    with pytest.raises(TemplateError, match="'finding_head', which is not available here"):
        choose_template(replace(headed, finding_head={}), evaluation=evaluation)


def test_an_empty_line_is_left_out() -> None:
    without_priors = f"Image: Chest, 1 view, frontal \n {QUESTION}"
    for empty in ("", "  ", "Not provided", "not provided.", "N/A", "-", "\x00\n", QUESTION):
        assert context_instruction(indication=empty) == without_priors


def test_views_are_named_once_and_unknown_ones_not() -> None:
    assert describe_views(["frontal"]) == "Chest, 1 view, frontal"
    assert (
        describe_views(["frontal", "frontal", "lateral"]) == "Chest, 3 views, frontal and lateral"
    )
    assert describe_views(["unknown", "unknown"]) == "Chest, 2 views"


def test_punctuation_that_carries_meaning_is_kept() -> None:
    instruction = context_instruction(
        indication="SOB since 10:30, r/o pneumonia (L>R)\nfever 38.5 °C; s/p CABG 3:1"
    )
    assert instruction == (
        "Image: Chest, 1 view, frontal \n Indication: "
        f"SOB since 10:30, r/o pneumonia (L R) fever 38.5 °C; s/p CABG 3:1 \n {QUESTION}"
    )


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_text_from_an_order_cannot_change_the_template(a: str, b: str, c: str, view: str) -> None:
    views = (View(VIEW.pixels, view),)
    case = Case("x", views, Priors(a, b, c))
    symptoms = Symptoms((a, b), (c,))
    oracle = Oracle((a, b), view, symptoms)
    assert rows_of(build_instruction(case, "context"), "context")[0][0] == "Image"
    assert rows_of(build_instruction(case, "none"), "none") == []
    rows_of(build_instruction(case, "predicted", symptoms=symptoms), "predicted")
    for template in ("oracle_iu", "oracle_mimic"):
        rows_of(build_oracle_instruction(case, oracle, template), template)


@functools.cache
def tokenizer(name: str) -> Tokenizer:
    return Tokenizer.from_file(str(SHIPPED["demo"] / name / "tokenizer.json"))


@given(HOSTILE)
def test_no_special_token_comes_from_an_order(text: str) -> None:
    instruction = context_instruction(indication=text, prior_report=text)
    for name in ("language", "asking"):
        encoded = tokenizer(name).encode(instruction)
        plain = tokenizer(name).encode(instruction, add_special_tokens=False)
        special = {t.content for t in tokenizer(name).get_added_tokens_decoder().values()}
        assert not special & set(plain.tokens) - {"<unk>", "[UNK]"}
        assert len(encoded.ids) > len(plain.ids), "the tokenizer adds special tokens"


@given(HOSTILE, st.integers(1, 400))
def test_cleaning_limits_the_length_and_is_idempotent(text: str, limit: int) -> None:
    cleaned = clean_prior(text, limit)
    assert len(cleaned) <= limit
    assert clean_prior(cleaned, limit) == cleaned


def test_long_text_is_cut_at_a_word() -> None:
    text = context_instruction(indication="pneumonia " * 100)
    assert len(text) < 500
    assert text.endswith(f"pneumonia \n {QUESTION}")


def shorter_than(limit: int) -> Fits:
    return lambda text: len(text) <= limit


@given(st.integers(0, 1500), HOSTILE)
def test_priors_are_shortened_for_the_template(limit: int, text: str) -> None:
    case = Case("x", (VIEW,), Priors(text + " cough", "XR CHEST " * 20, "Clear. " * 200))
    fixed = f"Image: Chest, 1 view, frontal \n {QUESTION}"
    instruction = build_instruction(case, "context", shorter_than(limit))
    rows_of(instruction, "context")
    assert instruction.startswith("Image: Chest, 1 view, frontal \n ")
    assert len(instruction) <= max(limit, len(fixed))


@given(st.integers(0, 1500), HOSTILE)
def test_the_papers_labels_stay_however_low_the_limit(limit: int, text: str) -> None:
    case = Case("x", (VIEW,), Priors(text + " cough"))
    oracle = Oracle((text, "Opacity"), "Chest" * 30, Symptoms((text,), ("Edema",) * 40))
    for template in ("oracle_iu", "oracle_mimic"):
        fixed = "".join(f"{line.label}:  \n " for line in TEMPLATES[template].lines)
        instruction = build_oracle_instruction(case, oracle, template, shorter_than(limit))
        rows_of(instruction, template)
        assert len(instruction) <= max(limit, len(fixed) - 1)


def test_the_last_line_is_shortened_first_and_only_as_far_as_needed() -> None:
    case = Case("x", (VIEW,), Priors("cough", "XR CHEST " * 8, "Clear. " * 50))
    instruction = build_instruction(case, "context", shorter_than(150))
    assert "Indication: cough" in instruction
    assert "Prior report" not in instruction
    assert len(instruction) > 150 - len(" CHEST"), "the limit is used, to a word"
    longer = build_instruction(case, "context", shorter_than(250))
    assert "Procedure: " + ("XR CHEST " * 8).strip() in longer
    assert len(longer) > 250 - len(" Clear.")


def test_a_prior_report_is_cut_at_the_end_of_a_sentence() -> None:
    prior = "No effusion is seen any more. The left nodule is 4.5 mm. No evidence of a fracture."
    sentences = ("No effusion is seen any more.", "The left nodule is 4.5 mm.")
    case = Case("x", (VIEW,), Priors("cough", "XR CHEST", prior))
    whole = len(build_instruction(case, "context"))
    for missing in range(1, len(" No evidence of a fracture.") + 1):
        instruction = build_instruction(case, "context", shorter_than(whole - missing))
        assert read_prior(instruction, "prior_report") == " ".join(sentences)
    shorter = build_instruction(case, "context", shorter_than(whole - missing - 1))
    assert read_prior(shorter, "prior_report") == sentences[0]
    # Of a first sentence that is too long what fits is better than nothing.
    least = build_instruction(case, "context", shorter_than(whole - len(prior) + 15))
    assert read_prior(least, "prior_report") == "No effusion is"


def test_two_templates_can_serve_readers() -> None:
    served = {name for name, template in TEMPLATES.items() if template.source is PriorSource.ORDER}
    assert served == {"context", "none"}
    for label in LABELS:
        assert label[-1].isalpha(), "a label that ended in a digit could be spelled with a time"


@pytest.mark.parametrize(
    ("sent", "expected", "note"),
    [
        ("cough", "cough", ""),
        ("", "", ""),
        ("n/a", "", "It says nothing, so the model did not get it."),
        ("x " * 400, "x " * 149 + "x", "The model got the first 299 characters of it."),
        ("cough: fever", "cough fever", "The model got it with some characters replaced."),
    ],
)
def test_what_the_model_got_of_an_indication(sent: str, expected: str, note: str) -> None:
    case = Case("a", (), Priors(indication=sent))
    instruction = build_instruction(case, "context")
    assert read_prior(instruction, "indication") == expected
    assert describe_given(instruction, "indication", sent) == note


def test_a_template_without_the_line_gives_no_indication() -> None:
    instruction = build_instruction(Case("a", (), Priors(indication="cough")), "none")
    assert read_prior(instruction, "indication") == ""
    assert "has no line" in describe_given(instruction, "indication", "cough")
