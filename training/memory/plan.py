"""What a stage of training takes of a device's memory, before it starts, and less of it.

Nothing is estimated: one micro-batch goes forward and backward through the real network, under the
real stage, on tensors that have a shape and no memory (training.memory.counting), and what lives is
counted. So the plan follows the code, whatever changes in it, and needs neither weights nor GPU.

Left out, as they depend on the device: what CUDA itself takes, what the allocator cannot use, what
kernels need inside (training.memory.gpu_fit has a margin for them); and several processes' buckets, once the
gradients again. Knows no cards.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

from model.case import MAX_VIEWS
from model.manifest import Preprocessing
from model.network.clinicalblip import ClinicalBLIP, Inputs
from model.network.sizes import (
    ASKING_FRAME,
    ASKING_TOKENS,
    CLIP_MEAN,
    CLIP_STD,
    LANGUAGE_FRAME,
    LANGUAGE_TOKENS,
    byte_tokenizer,
)
from model.network.weights import Places, kept_dtype, place_buffers, skeleton
from training.corpus.phantoms import FINDINGS, LATERAL_SIGNS
from training.finetuning.objectives import Batch, Objective
from training.finetuning.stages import Stage
from training.finetuning.trainable import (
    TrainableNetwork,
    apply_stage,
    enable_gradient_checkpointing,
)
from training.memory.counting import CudaEmulation, LiveStorageCounter

Precision = Literal["float16", "bfloat16", "float32"]
KernelRules = Literal["cuda", "cpu"]


@dataclass(frozen=True)
class MemorySettings:
    """What of a run's settings memory depends on; the largest micro-batch that it can meet.

    batch: examples of a micro-batch. accumulation: micro-batches a step. precision: of the weights
    that stand still, and of autocast. views: films of each example. prompt_tokens: of the
    instruction. target_tokens: of the report.
    """

    batch: int = 3
    accumulation: int = 4
    precision: Precision = "float16"
    checkpointed: bool = False
    views: int = MAX_VIEWS
    prompt_tokens: int = 128
    target_tokens: int = 150

    @property
    def dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        kept: torch.dtype = getattr(torch, self.precision)
        return kept


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes at the highest moment of a step.

    weights: what stands still. trainables, gradients, optimizer: of what learns, all float32.
    activations: what the forward pass keeps for the backward. working: what else lives at the
    highest moment: the batch, and what is made and dropped again.
    """

    stage: str
    setting: MemorySettings
    weights: int
    trainables: int
    gradients: int
    optimizer: int
    activations: int
    working: int

    @property
    def total(self) -> int:
        """All of it."""
        still = self.weights + self.trainables + self.gradients + self.optimizer
        return still + self.activations + self.working


# ---- Less of it ----


# ---- The plan ----


def plan(
    stage: Stage,
    config: InstructBlipConfig,
    setting: MemorySettings,
    *,
    rules: KernelRules = "cuda",
) -> MemoryPlan:
    """What a step of this stage takes in a network of this configuration.

    rules: whose kernels and autocast. Seconds of Python at full size, and no memory to speak of.

    Raises:
        ValueError: the stage names nothing in such a network, or a setting is below 1.
        BundleError: the language model is not T5.
    """
    _check(setting)
    with torch.random.fork_rng(devices=()):  # adapters are drawn; a run after this is the same
        return _planned(stage, config, setting, rules)


def _planned(
    stage: Stage, config: InstructBlipConfig, setting: MemorySettings, rules: KernelRules
) -> MemoryPlan:
    network = skeleton(config)
    for name, weight in network.named_parameters():
        weight.data = weight.data.to(kept_dtype(network, name, setting.dtype))
    trainable = apply_stage(network, stage)
    as_there: Callable[[], AbstractContextManager[Any]] = (
        CudaEmulation if rules == "cuda" else nullcontext
    )
    with FakeTensorMode(), ExitStack() as modes:
        _fake(trainable)
        if setting.checkpointed:
            enable_gradient_checkpointing(network, again=as_there)
        step = TrainingStep(trainable, _around(network), setting, foreach=rules == "cuda" or None)
        counter = LiveStorageCounter()
        weights = counter.add(p for p in network.parameters() if not p.requires_grad)
        weights += counter.add(network.buffers())
        trainables = counter.add(step.learns)
        gradients = counter.add(p.grad for p in step.learns if p.grad is not None)
        optimizer = counter.add(step.states())
        still = counter.now
        counter.add(step.tensors())
        modes.enter_context(as_there())
        modes.enter_context(counter)
        loss = step.forward()
        activations = counter.now - still
        step.backward(loss)
        del loss
        step.update()
    return MemoryPlan(
        stage.name,
        setting,
        weights,
        trainables,
        gradients,
        optimizer,
        activations,
        working=counter.peak - still - activations,
    )


def _check(setting: MemorySettings) -> None:
    for name in ("batch", "accumulation", "views", "prompt_tokens", "target_tokens"):
        if getattr(setting, name) < 1:
            raise ValueError(f"{name} is {getattr(setting, name)}: give at least 1")


def _fake(trainable: TrainableNetwork) -> None:
    """Every weight from the meta device to a CPU without memory, for meta tensors know no autocast.

    peft cannot put its adapters on such tensors, so the stage is already there.
    """
    network = trainable.network
    places = Places(network)
    for name, weight in list(network.named_parameters()):
        places.put(name, torch.empty(weight.shape, dtype=weight.dtype, device="cpu"))
        network.get_parameter(name).requires_grad_(weight.requires_grad)
    place_buffers(network, torch.device("cpu"))
    for named in trainable.groups.values():
        for name in named:
            named[name] = network.get_parameter(name)


def _around(network: InstructBlipForConditionalGeneration) -> ClinicalBLIP:
    """The network as an objective wants it; of tokenizers and films only the shapes count here."""
    return ClinicalBLIP(
        network,
        byte_tokenizer(LANGUAGE_TOKENS, LANGUAGE_FRAME),
        byte_tokenizer(ASKING_TOKENS, ASKING_FRAME),
        Preprocessing(network.config.vision_config.image_size, CLIP_MEAN, CLIP_STD),
        network.config.qformer_config.max_position_embeddings,
    )


# ---- One step ----


class TrainingStep:
    """One micro-batch and one step of the optimizer, as training.finetuning.loop takes them.

    The gradients of an earlier micro-batch and the optimizer's states are there already.
    """

    def __init__(
        self,
        trainable: TrainableNetwork,
        model: ClinicalBLIP,
        setting: MemorySettings,
        foreach: bool | None,
    ) -> None:
        device = next(model.network.parameters()).device
        self.dtype = setting.dtype
        self.device = device
        with device:
            self.objective = Objective(model, trainable.stage.objective).train()
        self.learns: list[nn.Parameter] = [
            *trainable.parameters(),
            *self.objective.auxiliary_parameters(),
        ]
        self.batch = _batch(model, setting, device)
        self.optimizer = torch.optim.AdamW(self.learns, lr=1e-6, foreach=foreach)
        for parameter in self.learns:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()

    def states(self) -> list[torch.Tensor]:
        """The optimizer's."""
        return [t for state in self.optimizer.state.values() for t in state.values()]

    def tensors(self) -> list[torch.Tensor]:
        """The batch's."""
        own = [self.batch.labels, self.batch.signs, self.batch.shown]
        return [*vars(self.batch.inputs).values(), *(t for t in own if t is not None)]

    def forward(self) -> torch.Tensor:
        """The loss."""
        narrow = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype if narrow else None, enabled=narrow):
            loss: torch.Tensor = self.objective(self.batch)
        return loss

    def backward(self, loss: torch.Tensor) -> None:
        """Its gradients, beside those that are there."""
        loss.backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """A step of the optimizer."""
        self.optimizer.step()


def _batch(model: ClinicalBLIP, setting: MemorySettings, device: torch.device) -> Batch:
    """The largest micro-batch. One prompt ends a word earlier: then there is a mask, as mostly."""
    size, films = model.preprocessing.size, setting.batch * setting.views
    shown = setting.views * model.config.num_query_tokens
    words = torch.full((setting.batch, shown + setting.prompt_tokens), 5, device=device)
    words[:, :shown] = model.config.image_token_index
    mask = torch.ones_like(words)
    mask[0, -1] = 0
    asked = torch.full((films, setting.prompt_tokens), 5, device=device)
    signs = torch.zeros(films, len(FINDINGS) + len(LATERAL_SIGNS), device=device)
    return Batch(
        Inputs(
            pixels=torch.zeros(films, 3, size, size, device=device),
            asked=asked,
            asked_mask=torch.ones_like(asked),
            words=words,
            words_mask=mask,
        ),
        torch.full((setting.batch, setting.target_tokens), 5, device=device),
        signs,
        torch.ones_like(signs),
    )


# ---- The truth ----


@dataclass(frozen=True)
class MeasuredStep:
    """A real step. memory: bytes at its highest moment. pace: studies a second, of whole steps."""

    memory: int
    pace: float


TIMED_STEPS = 3
"""Steps of which the fastest gives the pace."""


def measure(model: ClinicalBLIP, stage: Stage, setting: MemorySettings) -> MeasuredStep:
    """The same step for real, where the model is, with the largest micro-batch.

    Memory is what torch's allocator gave out, which on a GPU leaves out the same as the plan does.
    The stage is put onto the model, and it takes steps: it is of no use afterwards.
    """
    _check(setting)
    trainable = apply_stage(model.network, stage)
    if setting.checkpointed:
        enable_gradient_checkpointing(model.network)
    step = TrainingStep(trainable, model, setting, foreach=None)

    def run() -> None:
        step.backward(step.forward())
        step.update()

    if step.device.type == "cuda":
        run()  # what libraries take for themselves the first time
        torch.cuda.synchronize(step.device)
        torch.cuda.reset_peak_memory_stats(step.device)
        run()
        torch.cuda.synchronize(step.device)
        highest = torch.cuda.max_memory_allocated(step.device)
    else:
        there = LiveStorageCounter()
        there.add([*model.network.parameters(), *model.network.buffers(), *step.learns])
        there.add(p.grad for p in step.learns if p.grad is not None)
        there.add([*step.states(), *step.tensors()])
        highest = there.now + _highest(run)
    return MeasuredStep(highest, _pace(step, setting))


def _pace(step: TrainingStep, setting: MemorySettings) -> float:
    """Studies a second of whole steps: every micro-batch, then the optimizer's."""

    def seconds() -> float:
        began = time.perf_counter()
        for _ in range(setting.accumulation):
            step.backward(step.forward())
        step.update()
        if step.device.type == "cuda":
            torch.cuda.synchronize(step.device)
        return time.perf_counter() - began

    return setting.batch * setting.accumulation / min(seconds() for _ in range(TIMED_STEPS))


def _highest(run: Callable[[], None]) -> int:
    """What the CPU's allocator gave out above what was there before, by torch's profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        run()
    changes: list[tuple[int, int]] = []
    waiting = list(seen.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.tag == torch._C._profiler._EventType.Allocation:
            changes.append((event.start_time_ns, event.extra_fields.alloc_size))
    now = highest = 0
    for _, change in sorted(changes, key=lambda each: each[0]):
        now += change
        highest = max(highest, now)
    return highest


def with_batch(setting: MemorySettings, batch: int) -> MemorySettings:
    """The same step of the optimizer in micro-batches of another size.

    Raises:
        ValueError: its examples cannot be parted so.
    """
    examples = setting.batch * setting.accumulation
    if examples % batch:
        raise ValueError(f"{examples} examples a step cannot be parted into batches of {batch}")
    return replace(setting, batch=batch, accumulation=examples // batch)
