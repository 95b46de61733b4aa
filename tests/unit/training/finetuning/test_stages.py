"""What each stage trains and never trains, on the full-size network without its memory."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from model.network.sizes import FULL_PARAMETERS, build_random, config_of
from model.network.weights import build_meta_network
from training.finetuning.stages import (
    ABLATIONS,
    STAGE1,
    STAGE2,
    STAGES,
    WITHOUT_T5,
    Method,
    stage_table,
)
from training.finetuning.trainable import apply_stage

FULL = {
    # 39 layers, query and value, two matrices of rank 16 between 1,408 and 1,408.
    "ViT, query and value": 39 * 2 * 2 * 16 * 1408,
    # 39 layers with two norms each, and the last one; weight and bias.
    "ViT, layer norms": (39 * 2 + 1) * 2 * 1408,
    # 24 layers of the encoder, 24 x 2 of the decoder, query and value, 2,048 to 2,048.
    "T5, query and value": 72 * 2 * 16 * (2048 + 2048),
    # 48 layers, two ways up and one down, 2,048 and 5,120.
    "T5, MLP": 48 * 3 * 16 * (2048 + 5120),
    "query tokens": 32 * 768,
    "projection": 768 * 2048,
    "projection, bias": 2048,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_every_parameter_is_in_one_group_or_frozen(name: str) -> None:
    network = build_meta_network(config_of("full"))
    trainable = apply_stage(network, STAGES[name])
    named = trainable.named_parameters()
    listed = Counter(name for group in trainable.groups.values() for name in group)
    assert max(listed.values()) == 1
    assert {n for n, p in network.named_parameters() if p.requires_grad} == set(named)
    in_optimizer = Counter(id(p) for group in trainable.optimizer_groups() for p in group["params"])
    assert set(in_optimizer) == {id(p) for p in named.values()}
    assert max(in_optimizer.values()) == 1
    assert all(p.dtype == torch.float32 for p in named.values())


@pytest.mark.slow
def test_what_the_two_stages_train_at_full_size() -> None:
    counts = {}
    for stage in (STAGE1, STAGE2):
        network = build_meta_network(config_of("full"))
        trainable = apply_stage(network, stage)
        counts[stage.name] = trainable.parameter_counts()
        added = sum(p.numel() for n, p in network.named_parameters() if ".lora_" in n)
        assert sum(p.numel() for p in network.parameters()) - added == FULL_PARAMETERS
    bridge = {n: c for n, c in counts["stage2"].items() if n.startswith("Q-Former")}
    assert counts["stage1"] == {n: FULL[n] for n in ("ViT, query and value", "ViT, layer norms")}
    assert {n: c for n, c in counts["stage2"].items() if n not in bridge} == {
        n: c for n, c in FULL.items() if not n.startswith("ViT")
    }
    # All of the Q-Former, as the published model has it.
    full_network = build_meta_network(config_of("full"))
    assert sum(bridge.values()) == sum(p.numel() for p in full_network.qformer.parameters())
    assert sum(counts["stage1"].values()) == 3_736_832
    assert sum(counts["stage2"].values()) == 213_211_904


@pytest.mark.slow
@pytest.mark.parametrize("stage", [STAGE1, STAGE2], ids=lambda stage: stage.name)
def test_the_key_projection_is_frozen(stage: object) -> None:
    network = build_meta_network(config_of("full"))
    named = apply_stage(network, stage).named_parameters()  # type: ignore[arg-type]
    assert not [n for n in named if ".k_proj" in n or ".k." in n]


def test_a_step_changes_what_the_table_says_and_nothing_else() -> None:
    torch.set_num_threads(1)
    for stage in (STAGE1, STAGE2):
        network = build_random("tiny").network
        trainable = apply_stage(network, stage)
        before = {n: p.detach().clone() for n, p in network.named_parameters()}
        optimizer = torch.optim.AdamW(trainable.optimizer_groups())
        for parameter in trainable.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
        assert moved == set(trainable.named_parameters())
        keys = [n for n in before if ".k_proj." in n]
        assert keys
        assert not moved & set(keys)


def test_table_3_is_rows_of_the_same_table() -> None:
    assert list(ABLATIONS) == ["full", "untuned", "without_priors", "without_t5", "without_visual"]
    assert ABLATIONS["untuned"] == ()
    assert ABLATIONS["without_visual"] == (STAGE2,)
    assert not any(stage.priors for stage in ABLATIONS["without_priors"])
    assert not [g for g in WITHOUT_T5.groups if g.how is Method.LORA]
    # Each leaves out one thing: the rest is as in the full training.
    for name in ("without_priors", "without_t5"):
        assert ABLATIONS[name][0] == STAGE1
    rates = {(method, rate) for _, _, method, rate, _ in stage_table([STAGE1, STAGE2])}
    assert rates == {("LoRA", 5e-4), ("whole", 1e-4)}


def test_other_rates() -> None:
    quick = STAGE2.with_rates(1e-3, None)
    assert {g.rate for g in quick.groups if g.how is Method.LORA} == {1e-3}
    assert {g.rate for g in quick.groups if g.how is Method.WHOLE} == {1e-4}
