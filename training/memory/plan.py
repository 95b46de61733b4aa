"""Plans how much memory of a device a stage of training takes, before it starts.

Nothing is estimated. One micro-batch goes forward and backward through the real network, with the
real stage applied, on tensors that have a shape and no memory (training.memory.counting), and the
live tensors are counted. So a plan follows the code, and needs neither weights nor a GPU.

What depends on the device is left out: what CUDA itself takes, what the allocator cannot use, and
what kernels need inside (training.memory.gpu_fit adds a margin for these); also the buckets of
several processes, which are as large as the gradients.
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
    CLIP_MEAN,
    CLIP_STD,
    LANGUAGE_SPECIAL_TOKENS,
    LANGUAGE_TEMPLATE,
    QFORMER_SPECIAL_TOKENS,
    QFORMER_TEMPLATE,
    byte_tokenizer,
)
from model.network.weights import ParameterTable, build_meta_network, create_buffers, weight_dtype
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
    """The settings of a run that memory depends on, and the size of its largest micro-batch.

    Args:
        batch: Examples in a micro-batch.
        accumulation: Micro-batches in a step.
        precision: Number format of autocast.
        weights: Number format of the frozen weights; None takes the precision.
        checkpointed: Whether gradients are checkpointed.
        views: Views of each example.
        prompt_tokens: Tokens of the instruction.
        target_tokens: Tokens of the report.
    """

    batch: int = 3
    accumulation: int = 4
    precision: Precision = "float16"
    weights: Precision | None = None
    checkpointed: bool = False
    views: int = MAX_VIEWS
    prompt_tokens: int = 128
    target_tokens: int = 150

    @property
    def dtype(self) -> torch.dtype:
        """The precision as torch names it."""
        dtype: torch.dtype = getattr(torch, self.precision)
        return dtype

    @property
    def weight_dtype(self) -> torch.dtype:
        """The number format of the frozen weights as torch names it."""
        dtype: torch.dtype = getattr(torch, self.weights or self.precision)
        return dtype


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes in use at the moment of a step when they are most.

    Args:
        stage: Name of the stage.
        settings: The settings.
        weights: Frozen weights and buffers.
        trainables: Parameters that train, float32.
        gradients: Their gradients, float32.
        optimizer: AdamW's states of them, float32.
        activations: What the forward pass keeps for the backward pass.
        working: What else lives at that moment: the batch, and temporary tensors.
    """

    stage: str
    settings: MemorySettings
    weights: int
    trainables: int
    gradients: int
    optimizer: int
    activations: int
    working: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        constant = self.weights + self.trainables + self.gradients + self.optimizer
        return constant + self.activations + self.working


# ---- The plan ----


def plan_memory(
    stage: Stage,
    config: InstructBlipConfig,
    settings: MemorySettings,
    *,
    rules: KernelRules = "cuda",
) -> MemoryPlan:
    """Plan the memory of a step of a stage, in seconds at full size and with hardly any memory.

    Args:
        stage: The stage.
        config: Configuration of the network.
        settings: The settings.
        rules: The device whose kernels and autocast are assumed.

    Raises:
        ValueError: The stage matches nothing in such a network, or a setting is below 1.
        BundleError: The language model is not T5.
    """
    _check(settings)
    with torch.random.fork_rng(devices=()):  # adapters draw weights; a later run must not change
        return _planned(stage, config, settings, rules)


def _planned(
    stage: Stage, config: InstructBlipConfig, settings: MemorySettings, rules: KernelRules
) -> MemoryPlan:
    network = build_meta_network(config)
    for name, weight in network.named_parameters():
        weight.data = weight.data.to(weight_dtype(network, name, settings.weight_dtype))
    trainable = apply_stage(network, stage)
    emulation: Callable[[], AbstractContextManager[Any]] = (
        CudaEmulation if rules == "cuda" else nullcontext
    )
    with FakeTensorMode(), ExitStack() as modes:
        _without_memory(trainable)
        if settings.checkpointed:
            enable_gradient_checkpointing(network, recompute_context=emulation)
        step = TrainingStep(
            trainable, _with_tokenizers(network), settings, foreach=rules == "cuda" or None
        )
        counter = LiveStorageCounter()
        weights = counter.add(p for p in network.parameters() if not p.requires_grad)
        weights += counter.add(network.buffers())
        trainables = counter.add(step.parameters)
        gradients = counter.add(p.grad for p in step.parameters if p.grad is not None)
        optimizer = counter.add(step.states())
        constant = counter.live_bytes
        counter.add(step.tensors())
        modes.enter_context(emulation())
        modes.enter_context(counter)
        loss = step.forward()
        activations = counter.live_bytes - constant
        step.backward(loss)
        del loss
        step.update()
    return MemoryPlan(
        stage.name,
        settings,
        weights,
        trainables,
        gradients,
        optimizer,
        activations,
        working=counter.peak_bytes - constant - activations,
    )


def _check(settings: MemorySettings) -> None:
    for name in ("batch", "accumulation", "views", "prompt_tokens", "target_tokens"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} is {getattr(settings, name)}: give at least 1")


def _without_memory(trainable: TrainableNetwork) -> None:
    """Replace every weight on the meta device by one on a CPU without memory.

    Meta tensors do not know autocast. peft cannot add its adapters to tensors without memory, so
    the stage has been applied before.
    """
    network = trainable.network
    parameters = ParameterTable(network)
    for name, weight in list(network.named_parameters()):
        parameters.assign(name, torch.empty(weight.shape, dtype=weight.dtype, device="cpu"))
        network.get_parameter(name).requires_grad_(weight.requires_grad)
    create_buffers(network, torch.device("cpu"))
    for named in trainable.groups.values():
        for name in named:
            named[name] = network.get_parameter(name)


def _with_tokenizers(network: InstructBlipForConditionalGeneration) -> ClinicalBLIP:
    """The network as an objective needs it; only the shapes of tokenizers and images matter."""
    return ClinicalBLIP(
        network,
        byte_tokenizer(LANGUAGE_SPECIAL_TOKENS, LANGUAGE_TEMPLATE),
        byte_tokenizer(QFORMER_SPECIAL_TOKENS, QFORMER_TEMPLATE),
        Preprocessing(network.config.vision_config.image_size, CLIP_MEAN, CLIP_STD),
        network.config.qformer_config.max_position_embeddings,
    )


# ---- One step ----


class TrainingStep:
    """One micro-batch and one step of the optimizer, as in training.finetuning.loop.

    The gradients of an earlier micro-batch and the optimizer's states exist already.
    """

    def __init__(
        self,
        trainable: TrainableNetwork,
        model: ClinicalBLIP,
        settings: MemorySettings,
        foreach: bool | None,
    ) -> None:
        device = next(model.network.parameters()).device
        self.dtype = settings.dtype
        self.device = device
        with device:
            self.objective = Objective(model, trainable.stage.objective).train()
        self.parameters: list[nn.Parameter] = [
            *trainable.parameters(),
            *self.objective.auxiliary_parameters(),
        ]
        self.batch = _batch(model, settings, device)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-6, foreach=foreach)
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()

    def states(self) -> list[torch.Tensor]:
        """The optimizer's states."""
        return [t for state in self.optimizer.state.values() for t in state.values()]

    def tensors(self) -> list[torch.Tensor]:
        """The batch's tensors."""
        own = [self.batch.labels, self.batch.signs, self.batch.sign_mask]
        return [*vars(self.batch.inputs).values(), *(t for t in own if t is not None)]

    def forward(self) -> torch.Tensor:
        """The forward pass; returns the loss."""
        half = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype if half else None, enabled=half):
            loss: torch.Tensor = self.objective(self.batch)
        return loss

    def backward(self, loss: torch.Tensor) -> None:
        """The backward pass; adds to the gradients."""
        loss.backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """The step of the optimizer."""
        self.optimizer.step()


def _batch(model: ClinicalBLIP, settings: MemorySettings, device: torch.device) -> Batch:
    """The largest micro-batch. One prompt is a token shorter, so that there is a mask, as usual."""
    size, views = model.preprocessing.size, settings.batch * settings.views
    image_tokens = settings.views * model.config.num_query_tokens
    input_ids = torch.full(
        (settings.batch, image_tokens + settings.prompt_tokens), 5, device=device
    )
    input_ids[:, :image_tokens] = model.config.image_token_index
    mask = torch.ones_like(input_ids)
    mask[0, -1] = 0
    qformer_ids = torch.full((views, settings.prompt_tokens), 5, device=device)
    signs = torch.zeros(views, len(FINDINGS) + len(LATERAL_SIGNS), device=device)
    return Batch(
        Inputs(
            pixels=torch.zeros(views, 3, size, size, device=device),
            qformer_input_ids=qformer_ids,
            qformer_attention_mask=torch.ones_like(qformer_ids),
            input_ids=input_ids,
            attention_mask=mask,
        ),
        torch.full((settings.batch, settings.target_tokens), 5, device=device),
        signs,
        torch.ones_like(signs),
    )


# ---- A real step ----


@dataclass(frozen=True)
class MeasuredStep:
    """A real step. memory: most bytes in use at once. pace: studies a second, over whole steps."""

    memory: int
    pace: float


TIMED_STEPS = 3
"""Number of timed steps; the fastest gives the pace."""


def measure_step(model: ClinicalBLIP, stage: Stage, settings: MemorySettings) -> MeasuredStep:
    """Take a real step with the largest micro-batch, on the model's device.

    Memory is what torch's allocator gave out; on a GPU this leaves out what the plan leaves out.
    The stage is applied to the model and changes its weights: the model is of no use afterwards.
    """
    _check(settings)
    trainable = apply_stage(model.network, stage)
    if settings.checkpointed:
        enable_gradient_checkpointing(model.network)
    step = TrainingStep(trainable, model, settings, foreach=None)

    def run() -> None:
        step.backward(step.forward())
        step.update()

    if step.device.type == "cuda":
        run()  # libraries take memory for themselves the first time
        torch.cuda.synchronize(step.device)
        torch.cuda.reset_peak_memory_stats(step.device)
        run()
        torch.cuda.synchronize(step.device)
        highest = torch.cuda.max_memory_allocated(step.device)
    else:
        counter = LiveStorageCounter()
        counter.add([*model.network.parameters(), *model.network.buffers(), *step.parameters])
        counter.add(p.grad for p in step.parameters if p.grad is not None)
        counter.add([*step.states(), *step.tensors()])
        highest = counter.live_bytes + _highest(run)
    return MeasuredStep(highest, _pace(step, settings))


def _pace(step: TrainingStep, settings: MemorySettings) -> float:
    """Studies a second over whole steps: every micro-batch, then the optimizer's step."""

    def seconds() -> float:
        started = time.perf_counter()
        for _ in range(settings.accumulation):
            step.backward(step.forward())
        step.update()
        if step.device.type == "cuda":
            torch.cuda.synchronize(step.device)
        return time.perf_counter() - started

    return settings.batch * settings.accumulation / min(seconds() for _ in range(TIMED_STEPS))


def _highest(run: Callable[[], None]) -> int:
    """The most bytes that the CPU's allocator gave out during `run`, by torch's profiler."""
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as recorded:
        run()
    changes: list[tuple[int, int]] = []
    pending = list(recorded.profiler.kineto_results.experimental_event_tree())
    while pending:
        event = pending.pop()
        pending += event.children
        if event.tag == torch._C._profiler._EventType.Allocation:
            changes.append((event.start_time_ns, event.extra_fields.alloc_size))
    allocated = highest = 0
    for _, change in sorted(changes, key=lambda each: each[0]):
        allocated += change
        highest = max(highest, allocated)
    return highest


def with_batch(settings: MemorySettings, batch: int) -> MemorySettings:
    """The same step of the optimizer, split into micro-batches of another size.

    Raises:
        ValueError: Its examples cannot be split so.
    """
    examples = settings.batch * settings.accumulation
    if examples % batch:
        raise ValueError(f"{examples} examples a step cannot be split into batches of {batch}")
    return replace(settings, batch=batch, accumulation=examples // batch)
