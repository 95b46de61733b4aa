"""A stage on a network: its saved weights are merged to the network that was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.bundling.adapters import merge_adapter
from model.case import Case, View
from model.network.sizes import build_random
from training.corpus.phantoms import phantom
from training.finetuning.objectives import Objective, Sample, collate
from training.finetuning.stages import STAGE1, STAGE2, WITHOUT_T5, Method, ParameterGroup, Stage
from training.finetuning.trainable import apply_stage


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def samples(count: int = 2, size: int = 56) -> list[Sample]:
    trainable = []
    for seed in range(count):
        study = phantom(seed)
        views = tuple(View(study.render(p, size), p) for p in study.positions)
        trainable.append(Sample(Case(str(seed), views), "Write.", study.report, study.findings))
    return trainable


@pytest.mark.parametrize("stage", [STAGE1, STAGE2, WITHOUT_T5], ids=lambda stage: stage.name)
def test_what_was_trained_is_what_is_merged(stage: Stage, tmp_path: Path) -> None:
    model = build_random("tiny")
    torch.manual_seed(0)  # of the adapters, too
    trainable = apply_stage(model.network, stage)
    with torch.no_grad():
        for parameter in trainable.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    batch = collate(model, samples(), 40)
    trained = Objective(model, "report").eval()(batch).item()
    trainable.save_adapter(tmp_path / "adapter")

    fresh = build_random("tiny")
    original = Objective(fresh, "report").eval()(batch).item()
    fresh.network, record = merge_adapter(fresh.network, tmp_path / "adapter")
    merged = Objective(fresh, "report").eval()(batch).item()
    assert abs(original - trained) > 1e-3
    assert merged == pytest.approx(trained, abs=5e-5)
    assert len(record["sha256"]) == 64


def test_a_fresh_adapter_changes_nothing() -> None:
    batch = collate(build_random("tiny"), samples(), 40)
    plain = Objective(build_random("tiny"), "report").eval()(batch)
    for stage in (STAGE1, STAGE2):
        model = build_random("tiny")
        apply_stage(model.network, stage)
        assert torch.allclose(Objective(model, "report").eval()(batch), plain, atol=1e-5)


def test_wo_is_kept_out_of_float16() -> None:
    """The output of `wo` does not fit float16, and autocast would make it infinite."""
    model = build_random("tiny", activation_scale=2.0**15)
    apply_stage(model.network, STAGE2)
    objective = Objective(model, "report").eval()
    batch = collate(model, samples(), 40)
    with torch.autocast("cpu", torch.float16):
        loss = objective(batch)
    assert torch.isfinite(loss)


def test_a_group_that_names_nothing_is_refused() -> None:
    unmatched = Stage(
        "x", (ParameterGroup("none", r"no\.such", Method.WHOLE, 1.0, 0.0),), priors=False
    )
    with pytest.raises(ValueError, match="matches nothing"):
        apply_stage(build_random("tiny").network, unmatched)
    overlapping = Stage(
        "y",
        (
            ParameterGroup("one", r"query_tokens", Method.WHOLE, 1.0, 0.0),
            ParameterGroup("two", r"query_.*", Method.WHOLE, 1.0, 0.0),
        ),
        priors=False,
    )
    with pytest.raises(ValueError, match="in two groups"):
        apply_stage(build_random("tiny").network, overlapping)
