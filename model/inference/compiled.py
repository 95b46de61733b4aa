"""Compiles ViT and T5's encoder with torch.compile, and keeps that only where it is faster.

Layers are compiled one by one, so that layers of the same kind share one compilation. The number of
studies and of positions stays open, so that one compilation serves every group.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

from torch import nn
from transformers import InstructBlipForConditionalGeneration

from model.progress import ProgressCallback

TIMED_RUNS = 3
"""How often the eager and the compiled form are timed; the median counts."""


def compile_if_faster(
    network: InstructBlipForConditionalGeneration,
    encode: Callable[[], object],
    progress: ProgressCallback,
    backend: str = "inductor",
) -> dict[str, object]:
    """Compile the layers of the encoders, and keep that only where `encode` becomes faster.

    Args:
        network: The network whose layers are compiled in place.
        encode: Encodes the largest group and the smallest, and returns when the device is done.
        progress: Is called with "compiling", done of 10.
        backend: The backend of torch.compile.

    Returns:
        `eager_ms` and `compiled_ms`, the times of `encode`; `kept`, whether the layers stay
        compiled; `why`, the type of the error where they could not be compiled.
    """
    outcome: dict[str, object] = {"eager_ms": time_milliseconds(encode), "kept": False}
    progress("compiling", 1, 10)
    try:
        for layer in _layers(network):
            layer.compile(backend=backend, dynamic=True)
        encode()  # compiles
        progress("compiling", 9, 10)
        outcome["compiled_ms"] = time_milliseconds(encode)
        outcome["kept"] = outcome["compiled_ms"] < outcome["eager_ms"]  # type: ignore[operator]
    except Exception as error:
        # No compiler, no memory, or a layer that it does not support: eager layers work as well.
        outcome["why"] = type(error).__name__
    if not outcome["kept"]:
        uncompile(network)
    progress("compiling", 10, 10)
    return outcome


def uncompile(network: InstructBlipForConditionalGeneration) -> None:
    """Make every layer eager again."""
    for layer in _layers(network):
        layer._compiled_call_impl = None


def compiled_layer_count(network: InstructBlipForConditionalGeneration) -> int:
    """How many layers of the encoders are compiled."""
    return sum(layer._compiled_call_impl is not None for layer in _layers(network))


def time_milliseconds(work: Callable[[], object]) -> float:
    """Median milliseconds of `work`, after one run that is not timed."""
    work()
    durations = []
    for _ in range(TIMED_RUNS):
        started = perf_counter()
        work()
        durations.append(1000 * (perf_counter() - started))
    return round(median(durations), 2)


def _layers(network: InstructBlipForConditionalGeneration) -> list[nn.Module]:
    return [*network.vision_model.encoder.layers, *network.language_model.encoder.block]
