"""The plan of a step's memory, compared with real steps on a CPU, and what it depends on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from model.network.sizes import build_random, config_of
from model.network.weights import build_meta_network, weight_dtype
from training.finetuning.stages import STAGE1, STAGE2, TEXT_PRETRAINING, Stage
from training.finetuning.trainable import apply_stage, enable_gradient_checkpointing
from training.memory.counting import FLOAT32_OPERATIONS, CudaEmulation, LiveStorageCounter
from training.memory.gpu_fit import (
    GB,
    Suggestion,
    card_table,
    compare,
    main,
    render_plan,
    render_table,
    required_bytes,
    settings_by_cost,
    suggest_settings,
)
from training.memory.plan import (
    MemoryPlan,
    MemorySettings,
    TrainingStep,
    measure_step,
    plan_memory,
    with_batch,
)

TINY = config_of("tiny")
SMALL = MemorySettings(batch=2, views=2, prompt_tokens=24, target_tokens=32)
PAPER = (STAGE1, STAGE2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ---- Plan and real step ----


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "precision", "checkpointed"),
    [
        (STAGE1, "float32", False),
        (STAGE1, "bfloat16", True),
        (STAGE2, "bfloat16", False),
        (STAGE2, "float32", True),
        (TEXT_PRETRAINING, "float32", False),
    ],
    ids=lambda value: value.name if isinstance(value, Stage) else str(value),
)
def test_a_real_step_takes_what_was_planned(
    stage: Stage, precision: Any, checkpointed: bool
) -> None:
    settings = replace(SMALL, precision=precision, checkpointed=checkpointed)
    planned = plan_memory(stage, TINY, settings, rules="cpu")
    measured = measure_step(build_random("tiny", dtype=settings.dtype), stage, settings)
    # The profiler sees what the allocator gave out, kernels' own scratch among it.
    assert planned.total == pytest.approx(measured.memory, rel=0.03)
    assert measured.pace > 0


@pytest.mark.slow
@pytest.mark.parametrize("stage", PAPER, ids=lambda stage: stage.name)
def test_what_does_not_depend_on_the_batch_is_counted_to_the_byte(stage: Stage) -> None:
    network = build_meta_network(TINY)
    for name, weight in network.named_parameters():
        weight.data = weight.data.to(weight_dtype(network, name, torch.float16))
    trained = apply_stage(network, stage).parameters()
    parameter_bytes = {id(p): p.nbytes for p in network.parameters()}
    buffers = sum(b.nbytes for b in network.buffers())
    planned = plan_memory(stage, TINY, SMALL)
    trainables = sum(4 * p.numel() for p in trained)
    assert planned.trainables == planned.gradients == trainables
    assert planned.optimizer == 2 * trainables + 4 * len(trained)  # and a step's number for each
    assert planned.weights + planned.trainables == sum(parameter_bytes.values()) + buffers
    parts = vars(planned).copy()
    del parts["stage"], parts["settings"]
    assert planned.total == sum(parts.values())


@pytest.mark.slow
def test_activations_grow_with_the_examples_and_shrink_by_checkpointing() -> None:
    single = plan_memory(STAGE1, TINY, replace(SMALL, batch=1))
    triple = plan_memory(STAGE1, TINY, replace(SMALL, batch=3))
    checkpointed_plan = plan_memory(STAGE1, TINY, replace(SMALL, batch=3, checkpointed=True))
    assert triple.activations == pytest.approx(3 * single.activations, rel=0.05)
    assert checkpointed_plan.activations < triple.activations / 4
    assert checkpointed_plan.total < triple.total
    assert checkpointed_plan.weights == triple.weights


@pytest.mark.parametrize("name", ["batch", "accumulation", "views", "prompt_tokens"])
def test_a_setting_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        plan_memory(STAGE1, TINY, replace(SMALL, **{name: 0}))


# ---- Gradient checkpointing ----


def _gradients(stage: Stage, checkpointed: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    model = build_random("tiny")
    trainable = apply_stage(model.network, stage)
    for name, parameter in trainable.named_parameters().items():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.02)  # at zero, its partner gets no gradient
    if checkpointed:
        enable_gradient_checkpointing(model.network)
    step = TrainingStep(trainable, model, SMALL, foreach=None)
    torch.manual_seed(2)
    step.backward(step.forward())
    return {
        name: torch.empty(0) if p.grad is None else p.grad
        for name, p in trainable.named_parameters().items()
    }


@pytest.mark.parametrize("stage", PAPER, ids=lambda stage: stage.name)
def test_checkpointed_gradients_are_the_same_with_dropout(stage: Stage) -> None:
    normal, checkpointed = _gradients(stage, False), _gradients(stage, True)
    assert normal.keys() == checkpointed.keys()
    for name, gradient in normal.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-7, msg=name)
    assert sum(float(g.abs().sum()) > 0 for g in normal.values()) > 0.9 * len(normal)


def test_every_tower_is_checkpointed_where_it_learns() -> None:
    model = build_random("tiny")
    trainable = apply_stage(model.network, STAGE1)
    enable_gradient_checkpointing(model.network)
    ran: dict[str, int] = {}
    layers = {
        "ViT": model.network.vision_model.encoder.layers[0].mlp,
        "Q-Former": model.network.qformer.encoder.layer[0].intermediate_query,
        "T5's encoder": model.network.language_model.encoder.block[0].layer[-1],
        "T5's decoder": model.network.language_model.decoder.block[0].layer[-1],
    }
    for name, layer in layers.items():
        layer.register_forward_pre_hook(
            lambda *_, name=name: ran.__setitem__(name, ran.get(name, 0) + 1)
        )
    step = TrainingStep(trainable, model, SMALL, foreach=None)
    step.backward(step.forward())
    assert ran == dict.fromkeys(layers, 2)


# ---- CUDA emulation ----


def test_what_cudas_autocast_widens_and_a_cpus_does_not_is_known() -> None:
    """The tables are in torch; the names of what our network calls are collected here."""
    called: set[str] = set()

    class Names(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            called.add(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    for stage in (*PAPER, TEXT_PRETRAINING):
        model = build_random("tiny")
        step = TrainingStep(apply_stage(model.network, stage), model, SMALL, foreach=None)
        with Names():
            step.forward()

    def kernels(key: str) -> set[str]:
        names = (
            op.removeprefix("aten::").partition(".")[0]
            for op in torch._C._dispatch_get_all_op_names()
            if op.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(op, key)
        )
        return set(names)

    assert {"layer_norm", "linear", "pow", "rsqrt", "scaled_dot_product_attention"} <= called
    assert called & (kernels("AutocastCUDA") - kernels("AutocastCPU")) <= FLOAT32_OPERATIONS


def test_on_cuda_attention_keeps_no_matrix_and_dropout_keeps_bytes() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        q = torch.empty(2, 4, 64, 16, requires_grad=True)
        mask = torch.zeros(2, 1, 64, 61)
        k = torch.empty(2, 4, 61, 16)

        def saved_bytes(call: Any, cuda: bool) -> int:
            counter = LiveStorageCounter()
            counter.add([q, k, mask])
            before = counter.live_bytes
            with CudaEmulation() if cuda else LiveStorageCounter(), counter:
                out = call()
            assert out.requires_grad
            return counter.live_bytes - before - out.nbytes

        def attention() -> torch.Tensor:
            return functional.scaled_dot_product_attention(q, k, k, mask, dropout_p=0.1)

        mask_and_sums = 2 * 64 * 64 * 4 + 2 * 4 * 64 * 4
        assert saved_bytes(attention, True) < mask_and_sums + 100
        assert saved_bytes(attention, False) > 2 * 4 * 64 * 61 * 4
        assert saved_bytes(lambda: functional.dropout(q, 0.1), True) == q.numel()
        assert saved_bytes(lambda: functional.dropout(q, 0.1), False) == 4 * q.numel()


def test_a_storage_is_counted_once_and_no_longer_than_it_lives() -> None:
    counter = LiveStorageCounter()
    with counter:
        storage = torch.zeros(1000)
        part = storage[:10]
        assert counter.live_bytes == 4000
        del storage
        assert counter.live_bytes == 4000
        del part
        assert counter.live_bytes == 0
        assert counter.peak_bytes == 4000


# ---- Cards ----


def test_settings_come_by_their_cost_with_as_many_examples_a_step() -> None:
    batches = [
        (s.batch, s.accumulation, s.checkpointed) for s in settings_by_cost(MemorySettings())
    ]
    assert batches == [(3, 4, False), (3, 4, True), (2, 6, True), (1, 12, True)]
    odd = MemorySettings(batch=4, accumulation=5, checkpointed=True)
    assert [(s.batch, s.accumulation) for s in settings_by_cost(odd)] == [(4, 5), (2, 10), (1, 20)]
    with pytest.raises(ValueError, match="batches of 5"):
        with_batch(MemorySettings(), 5)


def _planned(settings: MemorySettings) -> MemoryPlan:
    activations = (1 if settings.checkpointed else 5) * GB * settings.batch
    return MemoryPlan("stage1", settings, 8 * GB, 0, 0, 0, activations, 0)


@pytest.mark.parametrize(
    ("card", "chosen"), [(27, (3, 4, False)), (14, (3, 4, True)), (12, (2, 6, True)), (10.8, ...)]
)
def test_the_cheapest_that_fits_is_chosen(card: float, chosen: Any) -> None:
    suggestion = suggest_settings(STAGE1, TINY, int(card * GB), planner=_planned)
    if chosen is ...:
        assert suggestion.chosen is None
        assert [p.settings.batch for p in suggestion.tried] == [3, 3, 2, 1]
        assert "still needs 10.9 GB; take a device with more memory" in suggestion.summary
        return
    assert suggestion.chosen is not None
    settings = suggestion.chosen.settings
    assert (settings.batch, settings.accumulation, settings.checkpointed) == chosen
    assert required_bytes(suggestion.chosen) <= card * GB
    assert suggestion.chosen is suggestion.tried[-1]


def test_a_suggestion_says_what_to_do() -> None:
    summaries = {
        card: suggest_settings(STAGE1, TINY, card * GB, planner=_planned).summary
        for card in (40, 14)
    }
    assert summaries[40] == "fits in 40.0 GB of GPU memory as it is set: 26.3 GB"
    assert "(26.3 GB), but with 3 x 4, checkpointed: 13.1 GB" in summaries[14]
    float32 = Suggestion(GB, (_planned(MemorySettings(precision="float32")),), None)
    assert "take a half precision or a device with more memory" in float32.summary


@pytest.mark.slow
def test_the_real_plan_is_suggested_and_shown() -> None:
    before = torch.get_rng_state()
    normal = plan_memory(STAGE1, TINY, SMALL)
    checkpointed_plan = plan_memory(STAGE1, TINY, replace(SMALL, checkpointed=True))
    assert torch.equal(torch.get_rng_state(), before)  # training is the same after planning
    capacity = required_bytes(checkpointed_plan)
    assert capacity < required_bytes(normal)
    suggestion = suggest_settings(STAGE1, TINY, capacity, SMALL)
    assert suggestion.chosen == checkpointed_plan
    text = render_plan(checkpointed_plan, capacity)
    assert "stage1, 2 x 4, checkpointed, float16, 2 views" in text
    assert "the GPU has" in text


@pytest.mark.slow
def test_the_table_has_a_line_for_each_stage_and_precision() -> None:
    requested = replace(SMALL, batch=1)
    rows = card_table(TINY, precisions=("float16",), cards=(1, 16), requested=requested)
    lines = render_table(rows).splitlines()
    assert lines[0] == "| stage | precision | 1 GB | 16 GB |"
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| stage1", "float16"],
        ["| stage2", "float16"],
    ]
    for line in lines[2:]:  # the margin alone is a GB
        assert line.endswith("| no: 1.0 GB | 1 x 4: 1.0 GB |")


@pytest.mark.slow
def test_a_plan_is_compared_with_the_measurement() -> None:
    settings = replace(SMALL, precision="float32")
    text = compare("tiny", PAPER[0], plan_memory(PAPER[0], TINY, settings, rules="cpu"), "cpu")
    assert re.search(r"measured \d+ MB: the plan is off by [+-]\d\.\d%; \d+\.\d\d studies", text)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure on")
def test_measuring_without_a_gpu_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--size", "tiny", "--measure"]) == 1
    assert "no CUDA device" in capsys.readouterr().err
