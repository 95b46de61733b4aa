"""The rows of the paper's Table 3: from one base, each trained once, each drafted as trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.bundling.store import check_bundle
from model.manifest import read_manifest, resolve
from records.errors import NotAllowed, SettingsError
from training.corpus.example import CorpusOptions
from training.corpus.phantom_corpus import PhantomCorpus
from training.corpus.phantoms import SITES
from training.evaluation.drafting import PriorMode
from training.evaluation.published import TABLE_3
from training.finetuning import ablations
from training.finetuning.ablations import (
    AblationRow,
    ablate,
    ablation_stages,
    as_markdown,
    clear,
    make_scorer,
    plot,
)
from training.finetuning.batches import SampleTransform
from training.finetuning.config import TrainingConfig
from training.finetuning.pipeline import Pipeline, TrainingLength
from training.finetuning.stages import ABLATIONS, STAGE1, STAGE2, Stage
from training.metrics.resampling import Interval


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def pipeline(work_folder: Path, lines: list[str]) -> Pipeline:
    return Pipeline(
        "demo",
        PhantomCorpus(site=SITES["ward"]),
        CorpusOptions(),
        work_folder,
        TrainingConfig(steps=0, batch=2, accumulation=1, precision="float32", most_target=60),
        SampleTransform(),
        TrainingLength(steps=2),
        10,
        processes=0,
        device="cpu",
        log=lines.append,
    )


def test_every_row_is_trained_and_scored_once(tmp_path: Path) -> None:
    lines: list[str] = []
    scored_bundles: list[tuple[Path, PriorMode]] = []

    def score(bundle: Path, mode: PriorMode) -> dict[str, Interval]:
        scored_bundles.append((bundle, mode))
        return {"bleu_a": Interval(0.1 * len(scored_bundles), 0.05, 0.6), "rouge_l": Interval(0.2)}

    def rows() -> list[AblationRow]:
        return ablate(
            pipeline(tmp_path / "work", lines), tmp_path, score, TABLE_3, log=lines.append
        )

    first = rows()
    assert [row.name for row in first] == list(ABLATIONS)
    assert [row.mode for row in first] == ["context", "context", "none", "context", "context"]
    assert scored_bundles[1] == (resolve("demo"), PriorMode.CONTEXT)
    # Stage 1 is trained once for the three rows that share it; their second stages differ.
    assert sum(line.startswith("stage1: loss") for line in lines) == 1
    for name in ("full", "without_priors", "without_t5", "without_visual"):
        check_bundle(tmp_path / name)
    full = read_manifest(tmp_path / "full")
    assert list(full.training["stages"]) == ["stage1", "stage1+stage2"]
    assert list(read_manifest(tmp_path / "without_visual").training["stages"]) == ["stage2"]
    assert full.digest != read_manifest(tmp_path / "without_visual").digest

    second = rows()
    assert second == first
    assert len(scored_bundles) == 5
    # A row that was made with other settings is not taken over.
    other = replace(pipeline(tmp_path / "work", lines), length=TrainingLength(steps=3))
    with pytest.raises(NotAllowed, match=r"made with other settings \(length\.steps was 2, now 3"):
        ablate(other, tmp_path, score, TABLE_3, log=lines.append)
    with pytest.raises(NotAllowed, match=r"scored\.studies was null, now 7"):
        ablate(pipeline(tmp_path / "work", lines), tmp_path, score, TABLE_3, scored={"studies": 7})
    with pytest.raises(SettingsError, match="has no end"):
        ablate(replace(other, limit=0), tmp_path, score, TABLE_3, log=lines.append)
    (tmp_path / "notes.txt").write_text("mine")
    clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "work"]

    text = as_markdown(first, TABLE_3)
    assert "| ClinicalBLIP without prior information | none | 0.300 (0.050-0.600) |" in text
    assert text.splitlines()[2].endswith("| 0.296 | 0.570 | 0.534 |")
    plot(tmp_path / "table.png", first)
    assert (tmp_path / "table.png").stat().st_size > 5_000


def test_other_rates_are_of_every_row() -> None:
    rates = {
        group.rate
        for stages in ablation_stages(2e-3, 5e-4).values()
        for s in stages
        for group in s.groups
    }
    assert rates == {2e-3, 5e-4}


def test_a_row_is_scored_as_bundles_are() -> None:
    scores = make_scorer(PhantomCorpus(), 8, 0, "cpu")(Path("demo"), PriorMode.CONTEXT)
    assert scores["finding_f1_micro"].value > 0.8
    assert {"bleu_a", "meteor_nltk", "rouge_l"} <= set(scores)


def test_as_in_the_paper_a_row_is_scored_with_the_priors_that_it_was_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "train", lambda *_, **__: [])
    monkeypatch.setattr(Pipeline, "build_bundle", lambda *_, **__: None)
    trained = replace(
        pipeline(tmp_path, []), transform=SampleTransform(("oracle_iu",), drop_priors=0.0)
    )

    def mode(*stages: Stage) -> PriorMode:
        return ablations._train_row(trained, tmp_path, "row", stages, resume=False)[1]

    assert mode(STAGE1, STAGE2) is PriorMode.ORACLE
    assert mode(STAGE1) is PriorMode.NONE
