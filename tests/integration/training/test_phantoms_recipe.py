"""The recipe from nothing to a bundle, in seconds: it will not see much, but it must load."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.case import DraftText
from model.manifest import verify
from model.reporter import Reporter
from records.errors import NotAllowed
from training.corpus.phantoms import HELD_OUT, phantom
from training.recipes import phantoms as recipe


def test_a_bundle_from_nothing(tmp_path: Path) -> None:
    out = tmp_path / "made"
    manifest = recipe.train_phantoms(out, minutes=0.05, seed=3, studies=100, held_out=4)
    assert verify(out).digest == manifest.digest
    assert manifest.demonstration
    assert manifest.training["finished"]
    assert manifest.training["steps"]["eye"] > 0
    assert manifest.training["steps"]["words"] > 0
    assert "micro_f1_films_swapped" in manifest.scores
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    draft = next(Reporter.load(out, device="cpu").draft([phantom(HELD_OUT).case(112)]))
    assert isinstance(draft, DraftText)


def test_a_stopped_run_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "made"
    monkeypatch.setattr(recipe, "CHECKPOINT_SECONDS", 0.0)

    class PowerCut(Exception):
        pass

    def no_scores(*_: object) -> object:
        raise PowerCut

    scoring = recipe.score_phantoms
    monkeypatch.setattr(recipe, "score_phantoms", no_scores)
    with pytest.raises(PowerCut):
        recipe.train_phantoms(out, minutes=0.05, seed=3, studies=100, held_out=4)
    # What the checkpoint left is a bundle already, and says that it is not finished.
    half = verify(out)
    assert not half.training["finished"]

    monkeypatch.setattr(recipe, "score_phantoms", scoring)
    manifest = recipe.train_phantoms(out, minutes=0.05, seed=3, studies=100, held_out=4)
    assert manifest.training["finished"]
    assert manifest.training["steps"]["eye"] == half.training["steps"]["eye"]
    assert manifest.training["steps"]["words"] >= half.training["steps"]["words"]

    monkeypatch.setattr(recipe, "score_phantoms", no_scores)
    with pytest.raises(PowerCut):
        recipe.train_phantoms(out, minutes=0.05, seed=3, studies=100, held_out=4)
    with pytest.raises(NotAllowed, match="another seed"):
        recipe.train_phantoms(out, minutes=0.05, seed=4, studies=100, held_out=4)
