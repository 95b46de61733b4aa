"""Which settings of a stage fit on a card: they are planned, the cheapest first, until one does.

`python -m training.memory.gpu_fit` prints the table of docs/train/training-memory.md, and `--measure` takes the
planned steps on the GPU at hand and says how far the plans were off. Knows no training loop.
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
    measure,
    plan,
    with_batch,
)

GB = 10**9
"""As cards are named: a card of 16 GB has at least 16 * 10**9 bytes that programs can use."""
CARDS = (16, 24, 40, 80)
"""GB: a V100 or T4, an A10 or RTX 4090, an A100, an A100 or H100."""
MARGIN_SHARE, RESERVED_BYTES = 0.10, GB
"""Beyond the plan: a share of it for what the allocator cuts into pieces too small to use and for
what kernels need inside, and so many bytes for CUDA's context, its libraries' code and workspaces.
Our reading: nobody has measured it here."""

Planner = Callable[[MemorySettings], MemoryPlan]


def required_bytes(planned: MemoryPlan) -> int:
    """Bytes of a card that a plan wants, the margin with it."""
    return int(planned.total * (1 + MARGIN_SHARE)) + RESERVED_BYTES


@dataclass(frozen=True)
class Suggestion:
    """What fits in `room` bytes. tried: plans by their cost; chosen: the first that fits."""

    room: int
    tried: tuple[MemoryPlan, ...]
    chosen: MemoryPlan | None

    @property
    def words(self) -> str:
        """In one sentence, with what to do."""
        first, least = self.tried[0], min(self.tried, key=required_bytes)
        if self.chosen is first:
            return f"fits in {_gb(self.room)} as it is set: {_gb(required_bytes(first))}"
        if self.chosen is not None:
            return (
                f"does not fit in {_gb(self.room)} as it is set ({_gb(required_bytes(first))}), but with "
                f"{_set(self.chosen.setting)}: {_gb(required_bytes(self.chosen))}"
            )
        narrower = first.setting.precision == "float32"
        advice = "take a half precision or a larger card" if narrower else "take a larger card"
        return (
            f"does not fit in {_gb(self.room)}: with {_set(least.setting)} it still needs "
            f"{_gb(required_bytes(least))}; {advice}"
        )


def settings_by_cost(asked: MemorySettings) -> Iterator[MemorySettings]:
    """As asked; then what costs time, the least first, with as many examples a step as before.

    Checkpointing computes the forward pass twice, whatever the batch; smaller batches leave a card
    less to do at once besides.
    """
    yield asked
    checkpointed = replace(asked, checkpointed=True)
    if not asked.checkpointed:
        yield checkpointed
    examples = asked.batch * asked.accumulation
    for batch in range(asked.batch - 1, 0, -1):
        if examples % batch == 0:
            yield with_batch(checkpointed, batch)


def suggest_settings(
    stage: Stage,
    config: InstructBlipConfig,
    room: int,
    asked: MemorySettings | None = None,
    *,
    rules: KernelRules = "cuda",
    planner: Planner | None = None,
) -> Suggestion:
    """The first settings of a stage that fit in so many bytes, the margin counted.

    asked: the settings to begin with, by default the paper's. planner: in place of `plan`, for who
    asks again and again.

    Raises:
        ValueError: as `plan`.
        BundleError: as `plan`.
    """
    made = planner or (lambda setting: plan(stage, config, setting, rules=rules))
    tried: list[MemoryPlan] = []
    for setting in settings_by_cost(asked or MemorySettings()):
        tried.append(made(setting))
        if required_bytes(tried[-1]) <= room:
            return Suggestion(room, tuple(tried), tried[-1])
    return Suggestion(room, tuple(tried), None)


# ---- For people ----


def show(planned: MemoryPlan, room: int = 0) -> str:
    """A plan in lines; room: bytes of the card, if there is one."""
    rows = [
        ("what stands still", planned.weights),
        ("what learns", planned.trainables),
        ("its gradients", planned.gradients),
        ("AdamW's two states of it", planned.optimizer),
        ("kept for the backward pass", planned.activations),
        ("made and dropped on the way", planned.working),
        ("together", planned.total),
        ("with a margin", required_bytes(planned)),
    ]
    if room:
        rows.append(("the card has", room))
    setting = planned.setting
    head = (
        f"{planned.stage}, {_set(setting)}, {setting.precision}, {setting.views} views, prompts of "
        f"{setting.prompt_tokens} tokens, reports of {setting.target_tokens}"
    )
    wide = max(len(name) for name, _ in rows)
    return "\n".join([head, *(f"  {name:<{wide}}  {_gb(size):>9}" for name, size in rows)])


@dataclass(frozen=True)
class Row:
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
    asked: MemorySettings | None = None,
) -> list[Row]:
    """What fits on each card. Every setting is planned once: minutes of Python at full size."""
    cards, precisions = tuple(cards), tuple(precisions)
    rows: list[Row] = []
    for stage in stages:
        planner = cache(lambda setting, stage=stage: plan(stage, config, setting))
        for precision in precisions:
            begin = replace(asked or MemorySettings(), precision=precision)
            rows += [
                Row(
                    card,
                    stage.name,
                    precision,
                    suggest_settings(stage, config, card * GB, begin, planner=planner),
                )
                for card in cards
            ]
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The table of cards: a line for each stage and precision, a column for each card."""
    cards = sorted({row.card for row in rows})
    lines = [
        "| stage | precision | " + " | ".join(f"{card} GB" for card in cards) + " |",
        "|---|---|" + "---|" * len(cards),
    ]
    found = {(row.stage, row.precision, row.card): row.suggestion for row in rows}
    for stage, precision in dict.fromkeys((row.stage, row.precision) for row in rows):
        cells = [_cell(found[stage, precision, card]) for card in cards]
        lines.append(f"| {stage} | {precision} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(suggestion: Suggestion) -> str:
    if suggestion.chosen is None:
        return f"no: {_gb(required_bytes(min(suggestion.tried, key=required_bytes)))}"
    return f"{_set(suggestion.chosen.setting)}: {_gb(required_bytes(suggestion.chosen))}"


def _set(setting: MemorySettings) -> str:
    also = ", checkpointed" if setting.checkpointed else ""
    return f"{setting.batch} x {setting.accumulation}{also}"


def _gb(size: int) -> str:
    return f"{size / GB:.1f} GB" if size >= GB else f"{size / 10**6:.0f} MB"


# ---- The command ----


def main(arguments: Sequence[str] | None = None) -> int:
    """The command's door; the exit status."""
    parser = argparse.ArgumentParser("python -m training.memory.gpu_fit", description=__doc__)
    parser.add_argument("--size", default="full", choices=list(SIZES))
    parser.add_argument("--measure", action="store_true", help="on the GPU at hand")
    given = parser.parse_args(arguments)
    if not given.measure:
        rows = card_table(config_of(given.size))
        plain = [row.suggestion.tried[0] for row in rows if row.card == rows[0].card]
        print("\n\n".join([*map(show, plain), markdown(rows)]))
        return 0
    if not torch.cuda.is_available():
        print("cards: there is no CUDA device here to measure on", file=sys.stderr)
        return 1
    _, room = torch.cuda.mem_get_info()
    print(f"{torch.cuda.get_device_name()}, {_gb(room)}, torch {torch.__version__}")
    for stage in (STAGE1, STAGE2):
        found = suggest_settings(stage, config_of(given.size), room)
        print(f"{stage.name} {found.words}")
        for planned in found.tried:
            if required_bytes(planned) <= room:
                print(compare(given.size, stage, planned, "cuda"))
    return 0


def compare(size: str, stage: Stage, planned: MemoryPlan, device: str) -> str:
    """A plan, and beside it what real steps of a network of random weights took."""
    model = build_random(size, dtype=planned.setting.dtype, device=device)
    measured = measure(model, stage, planned.setting)
    off = planned.total / measured.memory - 1
    del model
    torch.cuda.empty_cache()
    return (
        f"{show(planned)}\n  measured {_gb(measured.memory)}: the plan is off by {off:+.1%}; "
        f"{measured.pace:.2f} studies a second"
    )


if __name__ == "__main__":
    sys.exit(main())
