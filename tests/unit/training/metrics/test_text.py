"""The scores come out as published, and a resample of cases scores as those cases would."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nltk.data
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.metrics import meteor, text
from training.metrics.meteor import (
    Meteor15,
    MeteorNltk,
    MeteorUnavailable,
    meteor_from_statistics,
    start_meteor_15,
)
from training.metrics.text import NAMES, measure, rouge_l_google, score

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java")

DRAFTS = [
    "The heart is normal in size. The lungs are clear.",
    "Small left pleural effusion. No pneumothorax.",
    "Cardiomegaly without edema.",
    "",
    "The lungs are clear without focal consolidation.",
]
REPORTS = [
    ["Heart size is normal. The lungs are clear.", "Normal heart. Clear lungs."],
    ["There is a small left pleural effusion."],
    ["Stable cardiomegaly. There is no edema."],
    ["No acute disease."],
    ["The lungs are clear without focal consolidation."],
]


@pytest.fixture(scope="module")
def jar() -> Iterator[Meteor15]:
    """METEOR 1.5, started once for all tests that only query it."""
    with start_meteor_15() as started:
        yield started


@pytest.fixture
def quick_java(jar: Meteor15, monkeypatch: pytest.MonkeyPatch) -> None:
    """`measure` asks the process that runs already; starting one takes seconds."""

    @contextmanager
    def running() -> Iterator[Meteor15]:
        yield jar

    monkeypatch.setattr(text, "start_meteor_15", running)


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def no_wordnet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(meteor, "DEBIAN_WORDNET", tmp_path)
    meteor.load_synonyms.cache_clear()
    yield
    meteor.load_synonyms.cache_clear()


@pytest.mark.slow
@needs_java
@pytest.mark.usefixtures("quick_java")
def test_the_published_values_come_out_to_their_digits(samples: Path) -> None:
    folder = samples / "metrics"
    published = json.loads((folder / "nlgeval_expected.json").read_text())
    example = published["example"]

    def lines(name: str) -> list[str]:
        return (folder / name).read_text().splitlines()

    refs = list(zip(*(lines(name) for name in example["refs"]), strict=True))
    pair = published["individual"][0]
    for expected, scores in (
        (example, score(lines(example["hyp"]), refs)),
        (pair, score([pair["hyp"]], [pair["refs"]])),
    ):
        for score_name, published_name in (
            ("bleu_1", "Bleu_1"),
            ("bleu_2", "Bleu_2"),
            ("bleu_3", "Bleu_3"),
            ("bleu_4", "Bleu_4"),
            ("meteor_1_5", "METEOR"),
            ("rouge_l", "ROUGE_L"),
        ):
            assert scores[score_name] == pytest.approx(expected[published_name], abs=1e-6), (
                score_name
            )
        assert scores.bleu_a == pytest.approx((scores.bleu_2 + scores.bleu_3 + scores.bleu_4) / 3)


def test_nltks_meteor_is_as_its_documentation_prints_it() -> None:
    if MeteorNltk().note:
        pytest.skip("no WordNet")
    # The example of nltk.translate.meteor_score.
    draft = (
        "It is a guide to action which ensures that the military always obeys the commands of the "
        "party"
    )
    report = (
        "It is a guide to action that ensures that the military will forever heed Party commands"
    )
    assert MeteorNltk().score(draft, [report]) == pytest.approx(0.6944, abs=5e-5)


@needs_java
@pytest.mark.usefixtures("quick_java")
def test_a_resample_scores_as_its_cases_would() -> None:
    measured = measure(DRAFTS, REPORTS, normalisation="lower")
    assert measured.scores_at(np.arange(len(DRAFTS))) == pytest.approx(
        dict(measured.scores), abs=1e-9
    )
    sample = [4, 0, 0, 2, 3]
    resampled = measure(
        [DRAFTS[n] for n in sample], [REPORTS[n] for n in sample], normalisation="lower"
    )
    assert measured.scores_at(sample) == pytest.approx(dict(resampled.scores), abs=1e-9)
    with pytest.raises(ValueError, match="no case"):
        measured.scores_at([])


@needs_java
@pytest.mark.usefixtures("quick_java")
def test_every_score_has_cases_a_name_and_no_note() -> None:
    measured = measure(DRAFTS, REPORTS, normalisation="r2gen")
    assert (
        set(measured.cases)
        == set(measured.scores.descriptions)
        == set(NAMES)
        == set(measured.scores)
    )
    assert all(values.shape == (len(DRAFTS),) for values in measured.cases.values())
    assert all("normalisation r2gen" in name for name in measured.scores.descriptions.values())
    assert "pycocoevalcap 1.2" in measured.scores.descriptions["bleu_4"]
    assert "meteor_1_5" not in measured.scores.notes
    assert all(values[3] == 0 for values in measured.cases.values())  # the empty draft
    assert measured.cases["rouge_l"][4] == pytest.approx(1)
    with pytest.raises(KeyError):
        measured.scores["descriptions"]


@needs_java
def test_the_jars_score_is_the_arithmetic_of_its_counts(jar: Meteor15) -> None:
    pairs = [*zip(DRAFTS, REPORTS, strict=True), ("doctors heal", ["the physician healed"])]
    counts = np.array([jar.statistics(draft, reports) for draft, reports in pairs])
    assert jar.score(counts) == pytest.approx(
        float(meteor_from_statistics(counts.sum(axis=0))), abs=1e-12
    )
    for statistics, expected in zip(counts, meteor_from_statistics(counts), strict=True):
        assert jar.score(statistics[None]) == pytest.approx(float(expected), abs=1e-12)


@needs_java
def test_a_text_cannot_leave_its_field(jar: Meteor15) -> None:
    plain = jar.statistics("no effusion seen", ["no effusion", "none seen"])
    for draft, report in (
        ("no\neffusion\r\nseen", "no effusion"),
        ("no ||| effusion seen", "no\x0beffusion"),
        ("no effusion seen", "no ||| effusion\n"),
    ):
        assert (jar.statistics(draft, [report, "none\u2028seen"]) == plain).all()
    jar.statistics("µ é \ud800", ["ß"])  # half a character is no reason to stop
    assert (jar.statistics("no effusion seen", ["no effusion", "none seen"]) == plain).all()


@needs_java
def test_java_ends_with_its_context_whatever_happens() -> None:
    def children() -> set[int]:
        return {child.pid for child in psutil.Process().children()}

    before, started = children(), set[int]()

    def fail_midway() -> None:
        with start_meteor_15():
            started.update(children() - before)
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert len(started) == 1
    assert not children() & started


@pytest.mark.usefixtures("no_java")
def test_without_java_the_rest_is_scored_and_says_so() -> None:
    measured = measure(DRAFTS, REPORTS)
    assert measured.scores.meteor_1_5 is None
    assert "Java" in measured.scores.notes["meteor_1_5"]
    assert measured.scores.bleu_1 > 0
    assert measured.scores.rouge_l > 0
    assert "meteor_1_5" not in measured.scores_at([0, 1])
    assert "meteor_1_5" not in measured.cases


@pytest.mark.parametrize("script", ["exit 1", "echo hello; sleep 0.01", "echo 1 2 3; cat"])
def test_a_java_that_does_not_work_is_an_error(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with (
        pytest.raises(MeteorUnavailable, match="look at the Java runtime"),
        start_meteor_15() as broken,
    ):
        broken.statistics("no effusion", ["no effusion"])


@pytest.mark.usefixtures("no_java", "no_wordnet")
def test_without_wordnet_synonyms_do_not_count_and_the_name_says_so() -> None:
    scores = score(["doctor"], [["physician"]])
    assert scores.meteor_nltk == 0
    assert "without synonyms" in scores.descriptions["meteor_nltk"]
    assert "wordnet-base" in scores.notes["meteor_nltk"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_java")
def test_with_wordnet_synonyms_count() -> None:
    scores = score(["doctor"], [["physician"]])
    if "meteor_nltk" in scores.notes:
        pytest.skip("no WordNet")
    assert scores.meteor_nltk is not None
    assert scores.meteor_nltk > 0
    assert "WordNet 3" in scores.descriptions["meteor_nltk"]


VOCABULARY = ("heart", "lungs", "clear", "no", "small", "effusion", "seen", "normal")
token_lists = st.lists(st.sampled_from(VOCABULARY))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(token_lists.filter(lambda text: len(text) >= 4), min_size=1, max_size=4))
@pytest.mark.usefixtures("no_java", "no_wordnet")
def test_the_report_itself_scores_one(texts: list[list[str]]) -> None:
    reports = [" ".join(text) for text in texts]
    scores = score(reports, [[report] for report in reports], normalisation="lower")
    assert [scores[name] for name in ("bleu_1", "bleu_4", "bleu_a", "rouge_l")] == pytest.approx(
        [1] * 4, abs=1e-6
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(token_lists, token_lists), min_size=1, max_size=5))
@pytest.mark.usefixtures("no_java", "no_wordnet")
def test_scores_lie_between_0_and_1_and_hold_for_all_cases(
    pairs: list[tuple[list[str], list[str]]],
) -> None:
    measured = measure([" ".join(d) for d, _ in pairs], [[" ".join(r)] for _, r in pairs])
    all_scores = measured.scores_at(range(len(pairs)))
    assert all(0 <= value <= 1 + 1e-9 for value in all_scores.values())
    assert all_scores == pytest.approx({n: v for n, v in measured.scores.items() if v is not None})


@pytest.mark.parametrize(
    ("drafts", "reports", "normalisation", "message"),
    [
        ([], [], "raw", "nothing to score"),
        (["a"], [["a"], ["b"]], "raw", "1 drafts and references for 2"),
        (["a", "b"], [["a"], []], "raw", "number 2 has no reference"),
        (["a"], [["a"]], "upper", "no normalisation 'upper'; there are raw, lower, r2gen"),
        (["a"], ["a"], "raw", "put it in a list"),
        ("a", [["a"]], "raw", "put it in a list"),
    ],
)
def test_bad_input_is_an_error(
    drafts: list[str], reports: list[list[str]], normalisation: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        score(drafts, reports, normalisation=normalisation)


@pytest.mark.parametrize(
    ("draft", "reports", "expected"),
    [
        # The README of rouge-score.
        (
            "The quick brown dog jumps on the log.",
            ["The quick brown fox jumps over the lazy dog"],
            0.5882352941176471,
        ),
        # Its tests: testRougeLConsecutive and testRougeLNonConsecutive.
        ("testing", ["testing one two"], 0.5),
        ("testing two", ["testing one two"], 0.8),
        # Case and punctuation do not count; of several reports the best counts.
        ("No EFFUSION.", ["no effusion"], 1.0),
        ("no effusion", ["clear lungs", "no effusion"], 1.0),
        ("", ["no effusion"], 0.0),
        ("no effusion", [""], 0.0),
        ("...", ["no effusion"], 0.0),
    ],
)
def test_googles_rouge_l_has_its_published_values(
    draft: str, reports: list[str], expected: float
) -> None:
    assert rouge_l_google(draft, reports) == pytest.approx(expected)


@pytest.mark.usefixtures("no_java", "no_wordnet")
def test_both_rouge_l_are_scored_by_name() -> None:
    measured = measure(["Testing two"], [["testing one two"]])
    assert measured.scores.rouge_l_google == pytest.approx(0.8)
    assert measured.scores.rouge_l < 0.7  # here "Testing" is another word
    assert measured.scores_at([0])["rouge_l_google"] == pytest.approx(0.8)
    assert "rouge-score 0.1.2" in measured.scores.descriptions["rouge_l_google"]
