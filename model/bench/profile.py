"""Profiles decoding: what the device does between two tokens, and which kernels take the time.

It drives a `DecodeBatch` without a scheduler, so that only decoding is seen. In place of encoded
studies it decodes noise of the right shape.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from model.decoding import Decoding
from model.inference.decode_batch import DecodeBatch
from model.network.clinicalblip import ClinicalBLIP

STEPS_BEFORE = 60
"""Steps before the profile, so that texts are half as long as they get."""
ROUNDS = 12
"""Rounds of steps that are profiled, with all slots taken."""


@torch.inference_mode()
def profile_decoding(
    model: ClinicalBLIP, device: torch.device, slots: int, source_length: int
) -> dict[str, Any]:
    """Profile a few rounds of steps with all slots taken.

    Args:
        model: The network as it is served.
        device: Where it runs.
        slots: How many sequences are decoded at once.
        source_length: Positions that the encoder read for each.

    Returns:
        `slots` and `steps`; `top`, the kernels that took most of the time, as shares; on a GPU
        `device_busy`, the share of the profiled time that kernels cover. The rest is time in which
        a step waited for Python.
    """
    language = model.network.language_model
    max_tokens = STEPS_BEFORE + 4 * ROUNDS * 4
    batch = DecodeBatch(language, Decoding(max_tokens, ban_eos=True), slots, source_length)
    hidden = torch.randn(slots, source_length, language.config.d_model, device=device).to(
        model.dtype
    )
    mask = torch.ones(slots, source_length, dtype=torch.long, device=device)

    def admit(first: int) -> None:
        ids = list(range(first, first + slots))
        batch.admit(ids, hidden, mask, [source_length] * slots, [max_tokens] * slots)

    if device.type == "cuda":
        batch.warm_up()  # no graph is captured while steps are profiled
    admit(slots)
    started = batch.steps
    while batch.steps - started < STEPS_BEFORE:
        batch.step()
    before = batch.steps
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        for _ in range(ROUNDS):
            batch.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    kernels = _on_gpu(profiler) if device.type == "cuda" else _on_cpu(profiler)
    return {"slots": slots, "steps": batch.steps - before, **kernels}


def _on_gpu(profiler: profile) -> dict[str, Any]:
    kernels = [
        event
        for event in profiler.events() or []  # type: ignore[no-untyped-call]
        if "CUDA" in str(event.device_type)
    ]
    spans = sorted((e.time_range.start, e.time_range.end) for e in kernels)
    covered, last_end = 0.0, spans[0][0]
    for start, end in spans:
        covered += max(0.0, end - max(start, last_end))
        last_end = max(last_end, end)
    by_name: dict[str, float] = {}
    for event in kernels:
        by_name[event.name] = by_name.get(event.name, 0.0) + event.time_range.elapsed_us()
    return {
        "device_busy": round(covered / (last_end - spans[0][0]), 4),
        "kernels": len(kernels),
        "top": _top(by_name),
    }


def _on_cpu(profiler: profile) -> dict[str, Any]:
    by_name = {row.key: float(row.self_cpu_time_total) for row in profiler.key_averages()}
    return {"top": _top(by_name)}


def _top(by_name: dict[str, float]) -> dict[str, float]:
    """The ten kernels that took most of the time, as shares."""
    total = sum(by_name.values()) or 1.0
    ranked = sorted(by_name.items(), key=lambda item: -item[1])[:10]
    return {name[:80]: round(spent / total, 3) for name, spent in ranked}
