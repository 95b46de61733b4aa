"""ViT and T5's encoder by torch.compile, kept where they read faster so. Knows no slots.

Layer by layer: layers that are alike share what was compiled. How many studies and positions there
are stays open, so that one compilation serves every group.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

from torch import nn
from transformers import InstructBlipForConditionalGeneration

from model.progress import ProgressCallback

TIMES = 3
"""How often each way is timed; the median counts."""


def try_compiled(
    network: InstructBlipForConditionalGeneration,
    read: Callable[[], object],
    progress: ProgressCallback,
    backend: str = "inductor",
) -> dict[str, object]:
    """Compile the layers that read; keep it only where `read` is faster.

    read: reads the largest group, the smallest, and returns when the device is done. progress: is
    called with "compiling", of 10.

    Returns:
        eager_ms, compiled_ms: of `read`. kept: whether it stays compiled. why: where it could not
        be compiled, the type of the error.
    """
    found: dict[str, object] = {"eager_ms": _milliseconds(read), "kept": False}
    progress("compiling", 1, 10)
    try:
        for layer in _layers(network):
            layer.compile(backend=backend, dynamic=True)
        read()  # compiles
        progress("compiling", 9, 10)
        found["compiled_ms"] = _milliseconds(read)
        found["kept"] = found["compiled_ms"] < found["eager_ms"]  # type: ignore[operator]
    except Exception as error:
        # No compiler, no memory, a layer that it cannot take: all reads as well without.
        found["why"] = type(error).__name__
    if not found["kept"]:
        take_back(network)
    progress("compiling", 10, 10)
    return found


def take_back(network: InstructBlipForConditionalGeneration) -> None:
    """Layer by layer as before."""
    for layer in _layers(network):
        layer._compiled_call_impl = None


def _layers(network: InstructBlipForConditionalGeneration) -> list[nn.Module]:
    return [*network.vision_model.encoder.layers, *network.language_model.encoder.block]


def _milliseconds(read: Callable[[], object]) -> float:
    read()
    taken = []
    for _ in range(TIMES):
        started = perf_counter()
        read()
        taken.append(1000 * (perf_counter() - started))
    return round(median(taken), 2)
