"""The recipe from nothing to a bundle, in seconds: it will not see much, but it must load."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from model.case import DraftText
from model.manifest import read_manifest, verify
from model.reporter import Reporter
from records.errors import NotAllowed
from training.corpus.example import TRAIN
from training.corpus.phantom_corpus import PhantomCorpus
from training.corpus.phantoms import FINDINGS, HELD_OUT, SITES, phantom
from training.corpus.phantoms_words import extract_findings
from training.finetuning.model_card import CARD_FILE
from training.recipes import phantoms as recipe
from training.recipes.phantoms import RecipeConfig

FEW = RecipeConfig(studies=60, eye=3, words=3, batch=6)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few phantoms to learn floors from; METEOR 1.5 takes seconds to start."""
    monkeypatch.setattr("training.metrics.meteor.shutil.which", lambda _: None)
    monkeypatch.setattr("training.evaluation.heldout.ENDLESS_TRAINING", 60)


def made(
    out: Path, recipe_config: RecipeConfig = FEW, *, seed: int = 3, resume: bool = False
) -> str:
    return recipe.train_phantoms(
        out, recipe_config, seed=seed, held_out=4, resume=resume, device="cpu", log=lambda _: None
    ).digest


def test_a_bundle_from_nothing(tmp_path: Path) -> None:
    out = tmp_path / "made"
    digest = made(out)
    manifest = verify(out)
    assert manifest.digest == digest
    assert manifest.demonstration
    stages = manifest.training["stages"]
    assert {name: told["steps"] for name, told in stages.items()} == {"eye": 3, "words": 3}
    assert {"finding_f1_micro_films_swapped, priors context", "bleu_a, priors none"} <= set(
        manifest.scores
    )
    assert {"losses.png", CARD_FILE} <= set(manifest.files)
    assert "must not be used on patients" in (out / CARD_FILE).read_text()
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

    scoring = recipe.scores_for
    monkeypatch.setattr(recipe, "scores_for", cut)
    with pytest.raises(PowerCut):
        made(out)
    monkeypatch.setattr(recipe, "scores_for", scoring)
    with pytest.raises(NotAllowed, match="--resume takes it up"):
        made(out)
    with pytest.raises(NotAllowed, match=r"settings\.seed was 3, now 4"):
        made(out, seed=4, resume=True)
    made(out, resume=True)
    # What a stage came to is told though it was done before.
    told = [read_manifest(folder).training["stages"] for folder in (out, whole)]
    losses = [{name: stage["loss"] for name, stage in stages.items()} for stages in told]
    assert losses[0] == losses[1]
    weights = "model.safetensors"
    assert read_manifest(out).files[weights] == read_manifest(whole).files[weights]


def test_the_base_hears_of_all_findings_and_sees_half() -> None:
    site = SITES["elsewhere"]
    recipe_config = [
        (one, recipe.vary_ablation_base(one, site))
        for one in islice(PhantomCorpus(site=site).read(TRAIN), 600)
    ]
    language = [new for _, new in recipe_config if new.priors.prior_report]
    seen = [(old, new) for old, new in recipe_config if not new.priors.prior_report]
    assert 0.3 < len(language) / len(recipe_config) < 0.5
    for new in language:
        assert new.priors.prior_report.startswith(recipe.RESTORE)
        gapped = new.priors.prior_report.removeprefix(recipe.RESTORE).split()
        assert all(
            word in (recipe.GAP, whole)
            for word, whole in zip(gapped, new.target.split(), strict=True)
        )
        assert not new.priors.indication
    assert set(FINDINGS) <= {name for new in language for name in extract_findings(new.target)}
    for old, new in seen:
        # Told in words of either department, what is there is what is there.
        assert extract_findings(new.target) == old.truth == new.truth <= set(site.findings)
    assert 0.1 < sum(new.target != old.target for old, new in seen) / len(seen) < 0.3


def test_the_base_of_the_ablations_is_taught_once(tmp_path: Path) -> None:
    said: list[str] = []
    folder = recipe.train_ablation_base(tmp_path / "base", FEW, device="cpu", log=said.append)
    assert verify(folder).name == "elsewhere"
    count = len(said)
    assert count > 0
    recipe.train_ablation_base(folder, FEW, device="cpu", log=said.append)
    assert len(said) == count
