"""F1 over observations by hand, a resample, and RadGraph's plumbing with a faked package."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest

from model.labels import NO_FINDING, OBSERVATIONS, Label, Labels, RuleLabeller
from training.metrics.clinical import FIVE, score_clinical
from training.metrics.radgraph import check_radgraph, score_radgraph


class Spelled:
    """Labels spelled out in the text: "Edema Pneumonia? Fracture-"."""

    name = "a labeller of the test"
    key = "test"

    def label(self, texts: Sequence[str]) -> list[Labels]:
        marks = {"?": Label.UNCERTAIN, "-": Label.ABSENT}
        labels_by_text = []
        for text in texts:
            tokens = text.split()
            marked = {w.rstrip("?-"): marks.get(w[-1], Label.PRESENT) for w in tokens}
            labels_by_text.append({name: marked.get(name, Label.BLANK) for name in OBSERVATIONS})
        return labels_by_text

    def are_normal(self, texts: Sequence[str]) -> list[bool]:
        return [labels[NO_FINDING] is Label.PRESENT for labels in self.label(texts)]


DRAFTS = ["Edema Fracture", "Edema Pneumonia?", "Atelectasis-", "Cardiomegaly"]
REPORTS = ["Edema", "Pneumonia", "Atelectasis", "Cardiomegaly Edema?"]


def test_f1_by_hand() -> None:
    result = score_clinical(DRAFTS, REPORTS, Spelled())
    # hit: Edema, Cardiomegaly; said: 2 Edema, Fracture, Cardiomegaly; there: one each of Edema,
    # Pneumonia, Atelectasis, Cardiomegaly.
    assert result.scores["test_f1_14_micro"] == pytest.approx(2 * 2 / (4 + 4))
    assert result.scores["test_f1_14_macro"] == pytest.approx((2 / 3 + 1) / 14)
    assert result.scores["test_f1_5_micro"] == pytest.approx(2 * 2 / (3 + 3))
    assert result.scores["test_f1_5_macro"] == pytest.approx((2 / 3 + 1) / 5)
    edema = result.observations["Edema"]
    assert (edema.precision, edema.recall, edema.support) == (0.5, 1.0, 1)
    assert edema.f1 == pytest.approx(2 / 3)
    assert result.observations["Fracture"].f1 == 0
    assert result.references[3]["Edema"] is Label.UNCERTAIN
    assert len(FIVE) == 5


def test_uncertain_can_count_as_positive_and_the_name_says_which() -> None:
    result = score_clinical(DRAFTS, REPORTS, Spelled(), uncertain="positive")
    assert result.scores["test_f1_14_micro"] == pytest.approx(2 * 3 / (5 + 5))
    assert result.descriptions["test_f1_14_micro"] == (
        "micro F1 of 14 observations, labelled by a labeller of the test, uncertain as positive"
    )
    assert (
        score_clinical(DRAFTS, REPORTS, Spelled())
        .descriptions["test_f1_5_macro"]
        .endswith("as negative")
    )


def test_a_resample_scores_as_its_cases_would() -> None:
    result = score_clinical(DRAFTS, REPORTS, Spelled())
    assert result.scores_at(np.arange(4)) == pytest.approx(dict(result.scores))
    sample = [3, 0, 0, 1]
    resampled = score_clinical([DRAFTS[n] for n in sample], [REPORTS[n] for n in sample], Spelled())
    assert result.scores_at(sample) == pytest.approx(dict(resampled.scores))
    with pytest.raises(ValueError, match="no case"):
        result.scores_at([])


def test_rules_score_is_named_for_the_rules() -> None:
    result = score_clinical(["No edema. Small effusion."], ["Small effusion."], RuleLabeller())
    assert result.scores["rules_f1_14_micro"] == 1
    assert not any(
        "chexbert" in (key + description).lower()
        for key, description in result.descriptions.items()
    )


@pytest.mark.parametrize(
    ("drafts", "reports"), [([], []), (["a"], []), (["a"], ["a", "b"]), ("a", "a")]
)
def test_bad_input_is_an_error(drafts: Any, reports: Any) -> None:
    with pytest.raises(ValueError, match=r"give as many|put it in a list"):
        score_clinical(drafts, reports, Spelled())


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package that is called like radgraph's and scores equal texts 1, others .25."""
    outer, inner = ModuleType("radgraph"), ModuleType("radgraph.radgraph")
    outer.__spec__ = ModuleSpec("radgraph", None)

    class F1RadGraph:
        def __init__(self, reward_level: str, model_type: str) -> None:
            assert (reward_level, model_type) == ("partial", "radgraph")
            assert str(tmp_path) == inner.CACHE_DIR

        def __call__(self, hyps: list[str], refs: list[str]) -> tuple[Any, ...]:
            each = [1.0 if h == r else 0.25 for h, r in zip(hyps, refs, strict=True)]
            return np.mean(each), each, [], []

    inner.CACHE_DIR = "elsewhere"
    inner.F1RadGraph = F1RadGraph
    monkeypatch.setitem(sys.modules, "radgraph", outer)
    monkeypatch.setitem(sys.modules, "radgraph.radgraph", inner)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "radgraph.tar.gz").write_bytes(b"")
    return tmp_path


def test_radgraphs_package_is_called_with_the_users_weights(faked: Path) -> None:
    result = score_radgraph(["a", "b"], ["a", "c"], faked)
    assert result.score == pytest.approx(0.625)
    assert result.scores_at([1, 1]) == {"radgraph_f1": 0.25}
    assert "RadGraph F1 (partial)" in result.name
    assert not result.note
    assert sys.modules["radgraph.radgraph"].CACHE_DIR == "elsewhere"


def test_without_radgraph_there_is_no_score_but_a_reason(
    faked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no folder" in score_radgraph(["a"], ["a"]).note
    assert "holds no radgraph.tar.gz" in score_radgraph(["a"], ["a"], faked / "none").note
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    online = score_radgraph(["a"], ["a"], faked)
    assert "HF_HUB_OFFLINE=1" in online.note
    assert online.score is None
    assert online.scores_at([0]) == {}
    monkeypatch.delitem(sys.modules, "radgraph")
    monkeypatch.setattr(sys, "path", [])
    assert "install it" in score_radgraph(["a"], ["a"], faked).note
    with pytest.raises(ValueError, match="give as many"):
        score_radgraph(["a"], [])


def test_radgraph_is_checked_before_all_drafting(faked: Path) -> None:
    assert "cannot be opened (ReadError" in check_radgraph(faked)
    with tarfile.open(faked / "radgraph.tar.gz", "w:gz"):
        pass
    assert "empty archive" in check_radgraph(faked)
    (faked / "weights.th").write_bytes(b"weights")
    with tarfile.open(faked / "radgraph.tar.gz", "w:gz") as archive:
        archive.add(faked / "weights.th", "weights.th")
    assert check_radgraph(faked) == ""
    assert "holds no radgraph.tar.gz" in check_radgraph(faked / "none")


@pytest.mark.parametrize("error", [OSError("no such model\non the hub"), KeyError("x")])
def test_an_error_of_radgraphs_package_is_a_note(
    faked: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(sys.modules["radgraph.radgraph"], "F1RadGraph", fail)
    result = score_radgraph(["a"], ["a"], faked)
    assert result.score is None
    assert type(error).__name__ in result.note
    assert "on the hub" not in result.note  # one line
    assert sys.modules["radgraph.radgraph"].CACHE_DIR == "elsewhere"
    monkeypatch.setattr(
        sys.modules["radgraph.radgraph"], "F1RadGraph", lambda **_: lambda **_: (1.0, [1.0, 1.0])
    )
    assert "2,) scores of 1 drafts" in score_radgraph(["a"], ["a"], faked).note
