"""The recipe from random weights to a bundle, in seconds: it sees little, but it must load."""

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
from training.finetuning.finding_head import HeadConfig
from training.finetuning.model_card import CARD_FILE
from training.recipes import ablation_base
from training.recipes import phantoms as recipe
from training.recipes.from_scratch import RecipeConfig

FEW = RecipeConfig(studies=60, vision_steps=3, text_steps=3, batch=6)
FEW_FOR_HEAD = HeadConfig(examples=60, calibration_examples=20, epochs=2)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use few phantoms for the floors, and no METEOR 1.5, which starts slowly."""
    monkeypatch.setattr("training.metrics.meteor.shutil.which", lambda _: None)
    monkeypatch.setattr("training.evaluation.heldout.ENDLESS_TRAINING", 60)


def train(out: Path, config: RecipeConfig = FEW, *, seed: int = 3, resume: bool = False) -> str:
    return recipe.train_phantoms(
        out,
        config,
        FEW_FOR_HEAD,
        seed=seed,
        held_out=4,
        resume=resume,
        device="cpu",
        log=lambda _: None,
    ).digest


def test_a_bundle_from_nothing(tmp_path: Path) -> None:
    out = tmp_path / "made"
    digest = train(out)
    manifest = verify(out)
    assert manifest.digest == digest
    assert manifest.demonstration
    stages = manifest.training["stages"]
    assert {name: stage["steps"] for name, stage in stages.items()} == {"eye": 3, "words": 3}
    assert {"finding_f1_micro_films_swapped, priors context", "bleu_a, priors none"} <= set(
        manifest.scores
    )
    assert {"losses.png", CARD_FILE} <= set(manifest.files)
    assert "must not be used on patients" in (out / CARD_FILE).read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    draft = next(Reporter.load(out, device="cpu").draft([phantom(HELD_OUT).case(112)]))
    assert isinstance(draft, DraftText)


def test_a_stopped_run_resumes_and_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, out = tmp_path / "unbroken", tmp_path / "made"
    train(unbroken)

    class PowerCut(Exception):
        pass

    def cut(*_: object) -> object:
        raise PowerCut

    scoring = recipe.scores_for
    monkeypatch.setattr(recipe, "scores_for", cut)
    with pytest.raises(PowerCut):
        train(out)
    monkeypatch.setattr(recipe, "scores_for", scoring)
    with pytest.raises(NotAllowed, match="--resume resumes it"):
        train(out)
    with pytest.raises(NotAllowed, match=r"settings\.seed was 3, now 4"):
        train(out, seed=4, resume=True)
    train(out, resume=True)
    # The record of a stage is complete though the stage was finished before.
    records = [read_manifest(folder).training["stages"] for folder in (out, unbroken)]
    losses = [{name: stage["loss"] for name, stage in stages.items()} for stages in records]
    assert losses[0] == losses[1]
    weights = "model.safetensors"
    assert read_manifest(out).files[weights] == read_manifest(unbroken).files[weights]


def test_the_base_reads_of_all_findings_and_sees_half() -> None:
    site = SITES["elsewhere"]
    pairs = [
        (example, ablation_base.vary_ablation_base(example, site))
        for example in islice(PhantomCorpus(site=site).read(TRAIN), 600)
    ]
    text_only = [new for _, new in pairs if new.priors.prior_report]
    with_image = [(old, new) for old, new in pairs if not new.priors.prior_report]
    assert 0.3 < len(text_only) / len(pairs) < 0.5
    for new in text_only:
        assert new.priors.prior_report.startswith(ablation_base.RESTORE)
        gapped = new.priors.prior_report.removeprefix(ablation_base.RESTORE).split()
        assert all(
            gapped_token in (ablation_base.GAP, token)
            for gapped_token, token in zip(gapped, new.target.split(), strict=True)
        )
        assert not new.priors.indication
    assert set(FINDINGS) <= {name for new in text_only for name in extract_findings(new.target)}
    for old, new in with_image:
        # In the words of either department, the report has the findings of the image.
        assert extract_findings(new.target) == old.truth == new.truth <= set(site.findings)
    assert 0.1 < sum(new.target != old.target for old, new in with_image) / len(with_image) < 0.3


def test_the_base_of_the_ablations_is_trained_once(tmp_path: Path) -> None:
    lines: list[str] = []
    folder = ablation_base.train_ablation_base(
        tmp_path / "base", FEW, device="cpu", log=lines.append
    )
    assert verify(folder).name == "elsewhere"
    count = len(lines)
    assert count > 0
    ablation_base.train_ablation_base(folder, FEW, device="cpu", log=lines.append)
    assert len(lines) == count
