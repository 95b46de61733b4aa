"""The slots of the decoder: studies that are being written, a few steps at a time.

Knows no cases and no words: a study is what the encoder gave for it, and comes back as tokens. On a
GPU some steps of all slots are one CUDA graph, so that no Python stands between two tokens; the
host enqueues the next steps before it looks at what the last ones told. On a CPU the same code runs
step by step, over the positions that are in use and no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import torch
from transformers import T5ForConditionalGeneration

from model.decoding import Decoding
from model.inference.beams import Beams
from model.inference.decoder import Decoder
from model.inference.greedy import Choosing, Ends, Greedy, Told
from model.progress import ProgressCallback, no_progress

STEPS_ON_GPU = 4
"""Between two looks of the host. More saves looks; less lets a free slot wait for less."""
GRAIN = 32
"""On a GPU positions are rounded up to so many, so that a few graphs serve all lengths."""


@dataclass(eq=False)
class _Seat:
    """A study on board. words: E of what it read. steps: taken, those under way counted."""

    key: int
    words: int
    steps: int = 0


@dataclass(frozen=True)
class Landed:
    """What came of a study. ids: the end of text not among them. cut: it reached its limit.

    bad: its logits were no numbers, and what it told is worth nothing.
    """

    key: int
    ids: tuple[int, ...]
    logs: tuple[float, ...]
    cut: bool
    bad: bool


class Flight:
    """Slots over one decoder. Studies board free slots, and land when their text ends."""

    def __init__(
        self,
        t5: T5ForConditionalGeneration,
        decoding: Decoding,
        slots: int,
        words: int,
    ) -> None:
        config = t5.config
        self.slots = slots
        self._most = decoding.max_new_tokens
        self._ends = Ends(config.decoder_start_token_id, config.eos_token_id, config.pad_token_id)
        self._decoder = Decoder(t5, slots, decoding.beams, self._most, words)
        self._device = self._decoder.device
        way = Greedy if decoding.beams == 1 else Beams
        self._choosing: Choosing = way(decoding, slots, self._ends, self._device)
        self._on_gpu = self._device.type == "cuda"
        self._steps_a_look = STEPS_ON_GPU if self._on_gpu else 1
        self._seats: list[_Seat | None] = [None] * slots
        self._graphs: dict[tuple[int, int, int], torch.cuda.CUDAGraph] = {}
        self._looks: list[_Look] = []
        self.steps = 0
        self.tokens = 0
        """Told by those that have landed, ends of text counted."""

    @property
    def free(self) -> int:
        """Slots that nobody sits in."""
        return self._seats.count(None)

    @property
    def on_board(self) -> list[int]:
        """The keys of those who sit."""
        return [seat.key for seat in self._seats if seat is not None]

    def board(
        self,
        keys: Sequence[int],
        hidden: torch.Tensor,
        mask: torch.Tensor,
        lengths: Sequence[int],
        limits: Sequence[int],
    ) -> None:
        """Take studies on board, no more than there are free slots.

        hidden: (N, L, W) of T5's encoder. mask: (N, L), its first `lengths` of each 1. limits: new
        tokens of each, at most.
        """
        places = [n for n, seat in enumerate(self._seats) if seat is None][: len(keys)]
        slots = to_device(torch.tensor(places), self._device)
        self._decoder.read(slots, hidden, mask)
        self._choosing.begin(slots, to_device(torch.tensor(list(limits)), self._device))
        for place, key, words in zip(places, keys, lengths, strict=True):
            self._seats[place] = _Seat(key, words)

    def fly(self) -> list[Landed]:
        """Some steps of all who are on board; who has landed."""
        if any(self._seats):
            self._close_up()
            self._run()
            self._looks.append(_Look(self._choosing.told(), self._seats))
        # On a GPU the steps just enqueued run while the host looks at those before.
        ahead = 1 if self._on_gpu else 0
        landed: list[Landed] = []
        while len(self._looks) > ahead or (self._looks and not any(self._seats)):
            landed += self._land(self._looks.pop(0))
        return landed

    def warm_up(self, progress: ProgressCallback = no_progress) -> None:
        """Run every size of step once, before anybody is on board.

        Kernels are chosen and compiled now, so that capturing a graph later runs nothing.
        """
        if not self._on_gpu:
            return
        sizes = [
            (rows, tokens, words)
            for rows in self._sizes(self.slots, _halves(self.slots))
            for tokens in self._sizes(self._most, range(GRAIN, self._most, GRAIN))
            for words in self._sizes(
                self._decoder.shape.words, range(GRAIN, self._decoder.shape.words, GRAIN)
            )
        ]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for done, size in enumerate(sizes, start=1):
                self._step(*size)
                progress("warming up", done, len(sizes))
        torch.cuda.current_stream().wait_stream(side)

    @staticmethod
    def _sizes(most: int, less: Iterable[int]) -> list[int]:
        return [*less, most]

    def _run(self) -> None:
        seats = [seat for seat in self._seats if seat is not None]
        rows = 1 + max(n for n, seat in enumerate(self._seats) if seat is not None)
        tokens = min(self._most, max(seat.steps for seat in seats) + self._steps_a_look)
        words = max(seat.words for seat in seats)
        if self._on_gpu:
            tokens = min(self._most, _rounded(tokens))
            words = min(self._decoder.shape.words, _rounded(words))
            self._graph(self._rows_for(rows), tokens, words).replay()
        else:
            self._step(rows, tokens, words)
        for seat in seats:
            seat.steps += self._steps_a_look
        self.steps += self._steps_a_look

    def _step(self, slots: int, tokens: int, words: int) -> None:
        last, places = self._choosing.inputs(slots)
        parents = self._choosing.advance(self._decoder.step(last, places, tokens, words))
        if parents is not None:
            self._decoder.reorder(parents, tokens)

    def _graph(self, *size: int) -> torch.cuda.CUDAGraph:
        """Some steps as one graph, captured at the first call for these sizes."""
        rows, tokens, words = size
        if (rows, tokens, words) not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            # All share the first one's memory: they never run at the same time.
            shared = next(iter(self._graphs.values())).pool() if self._graphs else None
            with torch.cuda.graph(graph, pool=shared):
                for _ in range(self._steps_a_look):
                    self._step(rows, tokens, words)
            self._graphs[rows, tokens, words] = graph
        return self._graphs[rows, tokens, words]

    def _close_up(self) -> None:
        """Let those at the end move to empty slots before them: fewer rows are run.

        Whoever could board has boarded, so what is empty now stays so for a while.
        """
        taken = [n for n, seat in enumerate(self._seats) if seat is not None]
        wanted = self._rows_for(len(taken)) if self._on_gpu else len(taken)
        while taken[-1] >= wanted:
            source, target = taken.pop(), self._seats.index(None)
            seat = self._seats[source]
            if seat is None:
                raise RuntimeError("an empty slot cannot move")
            self._decoder.move(source, target, min(seat.steps, self._most), seat.words)
            self._choosing.move(source, target)
            self._seats[target], self._seats[source] = seat, None
            taken = sorted([*taken, target])

    def _rows_for(self, taken: int) -> int:
        """How many slots are run for so many: a few sizes, each half of the next."""
        return next((rows for rows in _halves(self.slots) if rows >= taken), self.slots)

    def _land(self, look: _Look) -> list[Landed]:
        told, running = look.read()
        landed = []
        for place, seat in enumerate(look.seats):
            if seat is None or running[place] or seat not in self._seats:
                continue
            # It may have moved since the host looked away.
            now = self._seats.index(seat)
            self._seats[now] = None
            count = int(told.count[place])
            ids = told.ids[place, :count].tolist()
            bad = bool(told.bad[place])
            ended = bool(ids) and ids[-1] == self._ends.end
            kept = len(ids) - ended
            self.tokens += count
            logs = told.logs[place, :kept].tolist()
            landed.append(Landed(seat.key, tuple(ids[:kept]), tuple(logs), not ended, bad))
            if bad:
                self._decoder.wipe([now])
        return landed


class _Look:
    """What all slots had told after some steps, and who sat where."""

    def __init__(self, told: Told, seats: Sequence[_Seat | None]) -> None:
        self.seats = list(seats)
        self._told = told
        self._event: torch.cuda.Event | None = None
        if told.running.is_cuda:
            self._told = Told(**{f.name: _to_host(getattr(told, f.name)) for f in fields(told)})
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def read(self) -> tuple[Told, list[bool]]:
        """What was told, and who still runs; waits until it is there."""
        if self._event is not None:
            self._event.synchronize()
        return self._told, self._told.running.tolist()


def to_device(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device; to a GPU by pinned memory, so that the host need not wait."""
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


def _to_host(state: torch.Tensor) -> torch.Tensor:
    pinned = torch.empty(state.shape, dtype=state.dtype, pin_memory=True)
    return pinned.copy_(state, non_blocking=True)


def _halves(slots: int) -> list[int]:
    """Sizes below `slots`, each about half of the next, from 4 on."""
    sizes = []
    while slots > 4:
        slots = (slots + 1) // 2
        sizes.append(slots)
    return sizes[::-1]


def _rounded(positions: int) -> int:
    return math.ceil(positions / GRAIN) * GRAIN
