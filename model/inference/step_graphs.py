"""Some decode steps as CUDA graphs, so that no Python runs between two tokens.

A graph is captured for one size: so many slots, so many positions of the texts, so many of the
encoder's. There are few sizes, all of them are captured before the first study, and a step runs the
smallest that is large enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from model.progress import ProgressCallback

POSITIONS_ALIGNED = 16
"""Attention on a GPU reads biases whose rows begin at a multiple of so many values."""
LEAST_SLOTS = 4
PARTS = 3
"""Sizes of each kind. With more of them a step reads less that is not in use; each takes memory and
seconds of warming up."""

Size = tuple[int, int, int]
"""Slots, positions of the texts, positions that the encoder read."""


class StepGraphs:
    """The graphs of one decode batch.

    Attributes:
        sizes: All sizes that can be run, the largest first.
    """

    def __init__(
        self,
        device: torch.device,
        slots: int,
        tokens: int,
        length: int,
        run: Callable[[int, int, int], None],
    ) -> None:
        """Plan the sizes; `capture` makes the graphs.

        Args:
            device: The GPU.
            slots: Most slots.
            tokens: Most positions of a text.
            length: Most positions that the encoder reads.
            run: Runs the steps of one size; called while a graph is captured.
        """
        self.slot_sizes = halved(slots)
        self._token_sizes = parts_of(tokens)
        self._length_sizes = parts_of(length)
        self.sizes: list[Size] = [
            (some_slots, some_tokens, some_length)
            for some_slots in reversed(self.slot_sizes)
            for some_tokens in reversed(self._token_sizes)
            for some_length in reversed(self._length_sizes)
        ]
        self._device = device
        self._run = run
        self._graphs: dict[Size, torch.cuda.CUDAGraph] = {}

    def __len__(self) -> int:
        return len(self._graphs)

    def capture(self, progress: ProgressCallback) -> None:
        """Capture all graphs, once, while all slots are empty.

        Each size is run once before, so that kernels are chosen and compiled outside a graph. The
        mode is `thread_local`: another thread may pin memory meanwhile. The largest comes first,
        because all graphs share its memory; they never run at the same time.
        """
        if self._graphs:
            return
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream(self._device)
        pool = None
        for done, size in enumerate(self.sizes, start=1):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                self._run(*size)
            current.wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(
                graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                self._run(*size)
            self._graphs[size] = graph
            pool = graph.pool()
            progress("warming up", done, len(self.sizes))

    def replay(self, slots: int, tokens: int, length: int) -> None:
        """Run the steps of the smallest size that holds so much."""
        self._graphs[
            smallest(self.slot_sizes, slots),
            smallest(self._token_sizes, tokens),
            smallest(self._length_sizes, length),
        ].replay()


def halved(slots: int) -> list[int]:
    """Up to PARTS numbers of slots, each about half of the next, LEAST_SLOTS or more, rising."""
    sizes = [slots]
    while len(sizes) < PARTS and sizes[0] > LEAST_SLOTS:
        sizes.insert(0, max(LEAST_SLOTS, (sizes[0] + 1) // 2))
    return sizes


def parts_of(most: int) -> list[int]:
    """PARTS or fewer numbers of positions, aligned but for the last, which is `most`; rising."""
    sizes = {min(most, aligned(math.ceil(most * part / PARTS))) for part in range(1, PARTS + 1)}
    return sorted(sizes)


def smallest(sizes: Sequence[int], needed: int) -> int:
    """The first of rising sizes that is large enough."""
    return next(size for size in sizes if size >= needed)


def aligned(positions: int) -> int:
    """The next multiple of POSITIONS_ALIGNED."""
    return math.ceil(positions / POSITIONS_ALIGNED) * POSITIONS_ALIGNED
