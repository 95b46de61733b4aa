"""The settings of a run: which of them must be equal on resume, and the learning rate by step."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from torch.nn import Linear
from torch.optim import SGD, Optimizer
from transformers import get_cosine_schedule_with_warmup

from tests.support.paths import ROOT
from training.finetuning.batches import SampleTransform
from training.finetuning.config import TrainingConfig, as_begun, differences, identity_of
from training.finetuning.stages import STAGE1, STAGE2, Lora

BEFORE_RENAME = ROOT / "tests" / "data" / "training_before_rename" / "float32" / "unbroken"
CONFIG = TrainingConfig(
    steps=8, batch=2, accumulation=2, precision="float32", seed=5, most_target=60
)


@pytest.mark.parametrize(
    ("folder", "stage"), [("stage1", STAGE1), ("stage1+stage2", STAGE2)], ids=["stage1", "stage2"]
)
def test_the_identity_is_that_of_earlier_versions(folder: str, stage: object) -> None:
    """identity.json was written by version 0.1.0; trainings of that version must resume."""
    saved = json.loads((BEFORE_RENAME / folder / "identity.json").read_text())
    extra = {name: saved[name] for name in ("base", "corpus", "upon")}
    stage = replace(stage, lora=Lora(rank=1))  # type: ignore[type-var]
    config, transform = as_begun(CONFIG, SampleTransform(), saved)
    assert identity_of(stage, config, transform, 1, extra) == saved  # type: ignore[arg-type]
    assert (config.end_cut_targets, transform.untouched, transform.noise) == (True, 0.0, 0.0)
    this_version = identity_of(stage, CONFIG, SampleTransform(), 1, extra)  # type: ignore[arg-type]
    assert as_begun(CONFIG, SampleTransform(), this_version) == (CONFIG, SampleTransform())
    assert differences(saved, this_version)  # without --resume it is another run


def test_intervals_and_checkpointing_may_change_on_resume() -> None:
    other = replace(CONFIG, save_every=1, validate_every=2, checkpointed=True)
    transform = SampleTransform()
    assert identity_of(STAGE1, other, transform, 1, {}) == identity_of(
        STAGE1, CONFIG, transform, 1, {}
    )


def test_prompts_may_change_only_for_a_stage_without_priors() -> None:
    other = SampleTransform(drop_priors=0.0, templates=("oracle_iu",))
    for stage, expected in (
        (STAGE1, []),
        (STAGE2, ["showing.drop_priors was 0.25, now 0.0",
                  'showing.templates was ["context"], now ["oracle_iu"]']),
    ):  # fmt: skip
        saved = identity_of(stage, CONFIG, SampleTransform(), 1, {})
        assert differences(saved, identity_of(stage, CONFIG, other, 1, {})) == expected


@pytest.mark.parametrize(("steps", "warm_up_steps"), [(10, 1), (100, 3), (3600, 108)])
def test_the_learning_rate_is_transformers_cosine_after_another_warm_up(
    steps: int, warm_up_steps: int
) -> None:
    """transformers begins at 0, so its first step changes nothing; ours begins one step further."""
    config = replace(CONFIG, steps=steps)
    optimizer: Optimizer = SGD(Linear(1, 1).parameters(), lr=1.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, warm_up_steps, steps)
    transformers_rates = []
    for _ in range(steps):
        transformers_rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    rates = [config.rate_factor(step) for step in range(steps)]
    assert rates[warm_up_steps:] == pytest.approx(transformers_rates[warm_up_steps:], abs=1e-12)
    assert rates[:warm_up_steps] == pytest.approx(
        transformers_rates[1 : warm_up_steps + 1], abs=1e-12
    )
    assert transformers_rates[0] == 0.0
    assert rates[0] == pytest.approx(1 / warm_up_steps)
