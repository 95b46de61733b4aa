"""The recipe from nothing to a bundle, in seconds: it will not see much, but it must load."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.case import DraftText
from model.manifest import read_manifest, verify
from model.reporter import Reporter
from records.errors import NotAllowed
from training.corpus.phantoms import HELD_OUT, phantom
from training.recipes import phantoms as recipe
from training.recipes.phantoms import Lessons

FEW = Lessons(studies=60, eye=3, words=3, batch=6)


def made(out: Path, lessons: Lessons = FEW, *, seed: int = 3, resume: bool = False) -> str:
    return recipe.train_phantoms(
        out, lessons, seed=seed, held_out=4, resume=resume, device="cpu", tell=lambda _: None
    ).digest


def test_a_bundle_from_nothing(tmp_path: Path) -> None:
    out = tmp_path / "made"
    digest = made(out)
    manifest = verify(out)
    assert manifest.digest == digest
    assert manifest.demonstration
    assert manifest.training["steps"] == {"eye": 3, "words": 3}
    assert "micro_f1_films_swapped" in manifest.scores
    assert "losses.png" in manifest.files
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    draft = next(Reporter.load(out, device="cpu").draft([phantom(HELD_OUT).case(112)]))
    assert isinstance(draft, DraftText)


def test_a_stopped_run_is_taken_up_and_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "made"
    made(whole)

    class PowerCut(Exception):
        pass

    def cut(*_: object) -> object:
        raise PowerCut

    scoring = recipe.score_phantoms
    monkeypatch.setattr(recipe, "score_phantoms", cut)
    with pytest.raises(PowerCut):
        made(out)
    monkeypatch.setattr(recipe, "score_phantoms", scoring)
    with pytest.raises(NotAllowed, match="--resume takes it up"):
        made(out)
    with pytest.raises(NotAllowed, match=r"settings\.seed was 3, now 4"):
        made(out, seed=4, resume=True)
    made(out, resume=True)
    # What a stage came to is told though it was done before.
    told = [read_manifest(folder).training["loss"] for folder in (out, whole)]
    assert told[0] == told[1]
    weights = "model.safetensors"
    assert read_manifest(out).files[weights] == read_manifest(whole).files[weights]


def test_the_base_of_the_ablations_is_taught_once(tmp_path: Path) -> None:
    said: list[str] = []
    folder = recipe.teach_base(tmp_path / "base", FEW, device="cpu", tell=said.append)
    assert verify(folder).name == "elsewhere"
    count = len(said)
    assert count > 0
    recipe.teach_base(folder, FEW, device="cpu", tell=said.append)
    assert len(said) == count
