"""Finds settings of a stage that fit on a GPU: it plans them, cheapest first, until some fit.

`python -m training.memory.gpu_fit` prints the table of docs/train/training-memory.md. With
`--measure` it takes the planned steps on this machine's GPU and says how far the plans were off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from transformers import InstructBlipConfig

from model.network.sizes import SIZES, build_random, config_of
from training.finetuning.stages import STAGE1, STAGE2, Stage
from training.memory.plan import (
    KernelRules,
    MemoryPlan,
    MemorySettings,
    Precision,
    measure_step,
    plan_memory,
    with_batch,
)

GB = 10**9
"""A GB as in the names of cards: a card of 16 GB has at least 16 * 10**9 usable bytes."""
CARDS = (16, 24, 40, 80)
"""Sizes in GB: a V100 or T4, an A10 or RTX 4090, an A100, an A100 or H100."""
MARGIN_SHARE, RESERVED_BYTES = 0.10, GB
"""The margin beyond the plan: a share of it for fragmentation and for what kernels need inside, and
a number of bytes for CUDA's context, the code of its libraries and their workspaces. These are our
estimates; they have not been measured."""

Planner = Callable[[MemorySettings], MemoryPlan]


def required_bytes(planned: MemoryPlan) -> int:
    """Bytes of a card that a plan needs, with the margin."""
    return int(planned.total * (1 + MARGIN_SHARE)) + RESERVED_BYTES


@dataclass(frozen=True)
class Suggestion:
    """The settings that fit in a number of bytes.

    Args:
        capacity: Bytes of the memory.
        tried: The plans that were made, cheapest first.
        chosen: The first plan that fits; None if none does.
        memory: What the memory is called, such as "GPU memory" or "RAM".
    """

    capacity: int
    tried: tuple[MemoryPlan, ...]
    chosen: MemoryPlan | None
    memory: str = "GPU memory"

    @property
    def summary(self) -> str:
        """One sentence that says whether it fits, and what to do."""
        first, smallest = self.tried[0], min(self.tried, key=required_bytes)
        capacity = f"{_gb(self.capacity)} of {self.memory}"
        if self.chosen is first:
            return f"fits in {capacity} as it is set: {_gb(required_bytes(first))}"
        if self.chosen is not None:
            return (
                f"does not fit in {capacity} as it is set "
                f"({_gb(required_bytes(first))}), but with {_batches(self.chosen.settings)}: "
                f"{_gb(required_bytes(self.chosen))}"
            )
        in_half = first.settings.weight_dtype != torch.float32 or first.settings.weights is not None
        advice = "take a device with more memory"
        if not in_half:
            advice = "take a half precision or a device with more memory"
        return (
            f"does not fit in {capacity}: with {_batches(smallest.settings)} it still "
            f"needs {_gb(required_bytes(smallest))}; {advice}"
        )


def settings_by_cost(requested: MemorySettings) -> Iterator[MemorySettings]:
    """The requested settings, then smaller ones by their cost in time, with equal examples a step.

    Checkpointing computes the forward pass twice, whatever the batch. Smaller batches besides use
    the card less well.
    """
    yield requested
    checkpointed = replace(requested, checkpointed=True)
    if not requested.checkpointed:
        yield checkpointed
    examples = requested.batch * requested.accumulation
    for batch in range(requested.batch - 1, 0, -1):
        if examples % batch == 0:
            yield with_batch(checkpointed, batch)


def suggest_settings(
    stage: Stage,
    config: InstructBlipConfig,
    capacity: int,
    requested: MemorySettings | None = None,
    *,
    rules: KernelRules = "cuda",
    planner: Planner | None = None,
    memory: str = "GPU memory",
) -> Suggestion:
    """The first settings of a stage that fit in a memory, with the margin.

    Args:
        stage: The stage.
        config: Configuration of the network.
        capacity: Bytes of the memory.
        requested: The settings to begin with; None takes the paper's.
        rules: Whose kernels and autocast.
        planner: Replaces `plan_memory`, for example by a cache of it.
        memory: What the memory is called.

    Raises:
        ValueError, BundleError: As `plan_memory`.
    """
    make_plan = planner or (lambda settings: plan_memory(stage, config, settings, rules=rules))
    tried: list[MemoryPlan] = []
    for settings in settings_by_cost(requested or MemorySettings()):
        tried.append(make_plan(settings))
        if required_bytes(tried[-1]) <= capacity:
            return Suggestion(capacity, tuple(tried), tried[-1], memory)
    return Suggestion(capacity, tuple(tried), None, memory)


# ---- As text ----


def render_plan(planned: MemoryPlan, capacity: int = 0) -> str:
    """A plan as lines of text. capacity: bytes of the GPU; 0 leaves that line out."""
    rows = [
        ("frozen weights", planned.weights),
        ("trained weights", planned.trainables),
        ("their gradients", planned.gradients),
        ("AdamW's two states", planned.optimizer),
        ("kept for the backward pass", planned.activations),
        ("temporary", planned.working),
        ("total", planned.total),
        ("with a margin", required_bytes(planned)),
    ]
    if capacity:
        rows.append(("the GPU has", capacity))
    settings = planned.settings
    header = (
        f"{planned.stage}, {_batches(settings)}, {settings.precision}, {settings.views} views, "
        f"prompts of {settings.prompt_tokens} tokens, reports of {settings.target_tokens}"
    )
    width = max(len(name) for name, _ in rows)
    return "\n".join([header, *(f"  {name:<{width}}  {_gb(size):>9}" for name, size in rows)])


@dataclass(frozen=True)
class CardRow:
    """One cell of the table of cards. card: GB."""

    card: int
    stage: str
    precision: Precision
    suggestion: Suggestion


def card_table(
    config: InstructBlipConfig,
    *,
    stages: Iterable[Stage] = (STAGE1, STAGE2),
    precisions: Iterable[Precision] = ("float16", "bfloat16", "float32"),
    cards: Iterable[int] = CARDS,
    requested: MemorySettings | None = None,
) -> list[CardRow]:
    """What fits on each card. Each plan is made once, which takes minutes at full size."""
    cards, precisions = tuple(cards), tuple(precisions)
    rows: list[CardRow] = []
    for stage in stages:
        planner = cache(lambda settings, stage=stage: plan_memory(stage, config, settings))
        for precision in precisions:
            initial = replace(requested or MemorySettings(), precision=precision)
            rows += [
                CardRow(
                    card,
                    stage.name,
                    precision,
                    suggest_settings(stage, config, card * GB, initial, planner=planner),
                )
                for card in cards
            ]
    return rows


def render_table(rows: Sequence[CardRow]) -> str:
    """The table of cards: a line for each stage and precision, a column for each card."""
    cards = sorted({row.card for row in rows})
    lines = [
        "| stage | precision | " + " | ".join(f"{card} GB" for card in cards) + " |",
        "|---|---|" + "---|" * len(cards),
    ]
    suggestions = {(row.stage, row.precision, row.card): row.suggestion for row in rows}
    for stage, precision in dict.fromkeys((row.stage, row.precision) for row in rows):
        cells = [_cell(suggestions[stage, precision, card]) for card in cards]
        lines.append(f"| {stage} | {precision} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(suggestion: Suggestion) -> str:
    if suggestion.chosen is None:
        return f"no: {_gb(required_bytes(min(suggestion.tried, key=required_bytes)))}"
    return f"{_batches(suggestion.chosen.settings)}: {_gb(required_bytes(suggestion.chosen))}"


def _batches(settings: MemorySettings) -> str:
    suffix = ", checkpointed" if settings.checkpointed else ""
    return f"{settings.batch} x {settings.accumulation}{suffix}"


def _gb(size: int) -> str:
    return f"{size / GB:.1f} GB" if size >= GB else f"{size / 10**6:.0f} MB"


# ---- The command ----


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser("python -m training.memory.gpu_fit", description=__doc__)
    parser.add_argument("--size", default="full", choices=list(SIZES))
    parser.add_argument("--measure", action="store_true", help="on this machine's GPU")
    options = parser.parse_args(arguments)
    if not options.measure:
        rows = card_table(config_of(options.size))
        plans = [row.suggestion.tried[0] for row in rows if row.card == rows[0].card]
        print("\n\n".join([*map(render_plan, plans), render_table(rows)]))
        return 0
    if not torch.cuda.is_available():
        print("gpu_fit: there is no CUDA device here to measure on", file=sys.stderr)
        return 1
    _, capacity = torch.cuda.mem_get_info()
    print(f"{torch.cuda.get_device_name()}, {_gb(capacity)}, torch {torch.__version__}")
    for stage in (STAGE1, STAGE2):
        suggestion = suggest_settings(stage, config_of(options.size), capacity)
        print(f"{stage.name} {suggestion.summary}")
        for planned in suggestion.tried:
            if required_bytes(planned) <= capacity:
                print(compare(options.size, stage, planned, "cuda"))
    return 0


def compare(size: str, stage: Stage, planned: MemoryPlan, device: str) -> str:
    """A plan, and what real steps of a network of random weights took."""
    model = build_random(size, dtype=planned.settings.dtype, device=device)
    measured = measure_step(model, stage, planned.settings)
    off = planned.total / measured.memory - 1
    del model
    torch.cuda.empty_cache()
    return (
        f"{render_plan(planned)}\n  measured {_gb(measured.memory)}: the plan is off by "
        f"{off:+.1%}; {measured.pace:.2f} studies a second"
    )


if __name__ == "__main__":
    sys.exit(main())
