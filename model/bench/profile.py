"""What the device does between two tokens: how long it waits, and for which kernels.

Drives the slots alone, without the stream, so that what is seen is decoding. Knows no studies: what
was read is noise of the right shape.
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
LOOKS = 12
"""Looks of the host that are profiled, all slots taken."""


@torch.inference_mode()
def profile_decoding(
    model: ClinicalBLIP, device: torch.device, slots: int, words: int
) -> dict[str, Any]:
    """Full slots, some steps: the share of time in which the device worked, and its top kernels.

    On a GPU `device_busy` is the share of the profiled span that kernels cover: what is missing is
    time in which a step waited for Python.
    """
    language = model.network.language_model
    most = STEPS_BEFORE + 4 * LOOKS * 4
    batch = DecodeBatch(language, Decoding(most, ban_eos=True), slots, words)
    hidden = torch.randn(slots, words, language.config.d_model, device=device).to(model.dtype)
    mask = torch.ones(slots, words, dtype=torch.long, device=device)

    def admit(first: int) -> None:
        keys = list(range(first, first + slots))
        batch.admit(keys, hidden, mask, [words] * slots, [most] * slots)

    if device.type == "cuda":
        # Once to the end, so that no graph is captured while it is watched.
        admit(0)
        while batch.active_ids:
            batch.step()
    admit(slots)
    started = batch.steps
    while batch.steps - started < STEPS_BEFORE:
        batch.step()
    ends = batch.steps
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as watched:
        for _ in range(LOOKS):
            batch.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
    found = _on_gpu(watched) if device.type == "cuda" else _on_cpu(watched)
    return {"slots": slots, "steps": batch.steps - ends, **found}


def _on_gpu(watched: profile) -> dict[str, Any]:
    kernels = [
        event
        for event in watched.events() or []  # type: ignore[no-untyped-call]
        if "CUDA" in str(event.device_type)
    ]
    spans = sorted((e.time_range.start, e.time_range.end) for e in kernels)
    covered, reached = 0.0, spans[0][0]
    for start, end in spans:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    by_name: dict[str, float] = {}
    for event in kernels:
        by_name[event.name] = by_name.get(event.name, 0.0) + event.time_range.elapsed_us()
    return {
        "device_busy": round(covered / (reached - spans[0][0]), 4),
        "kernels": len(kernels),
        "top": _top(by_name),
    }


def _on_cpu(watched: profile) -> dict[str, Any]:
    by_name = {row.key: float(row.self_cpu_time_total) for row in watched.key_averages()}
    return {"top": _top(by_name)}


def _top(by_name: dict[str, float]) -> dict[str, float]:
    """The ten dearest, as shares."""
    whole = sum(by_name.values()) or 1.0
    ranked = sorted(by_name.items(), key=lambda item: -item[1])[:10]
    return {name[:80]: round(spent / whole, 3) for name, spent in ranked}
