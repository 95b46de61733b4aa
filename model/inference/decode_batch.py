"""The slots of the decoder: sequences are admitted to free slots, stepped, and leave when they end.

A sequence is what the encoder gave for a request, and comes back as tokens. On a GPU a few steps
are one CUDA graph (`step_graphs`), and the host enqueues the next steps before it looks at the
results of the last ones. On a CPU the same code runs step by step, over the positions that are in
use and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from transformers import T5ForConditionalGeneration

from model.decoding import Decoding
from model.inference.beams import BeamSearchSampler
from model.inference.decoder import Decoder
from model.inference.greedy import GreedySampler
from model.inference.sampler import Sampler, SamplerState, SpecialTokens
from model.inference.step_graphs import StepGraphs, smallest
from model.inference.types import Finished
from model.progress import ProgressCallback, no_progress

STEPS_PER_GRAPH = 4
"""Steps on a GPU between two looks of the host. With more of them the host looks less often; with
fewer a free slot waits less."""


@dataclass(eq=False)
class _Sequence:
    """A sequence in a slot.

    Attributes:
        request_id: The request that it belongs to.
        length: Positions that the encoder read for it.
        steps: Steps taken, including those that are enqueued.
    """

    request_id: int
    length: int
    steps: int = 0


class DecodeBatch:
    """A fixed number of slots over one decoder.

    Attributes:
        slots: How many slots there are.
        steps: Steps taken since the batch was made.
        tokens: Tokens of the sequences that have finished, ends of text included.
        steps_per_round: Steps of one call of `step`.
    """

    def __init__(
        self,
        t5: T5ForConditionalGeneration,
        decoding: Decoding,
        slots: int,
        source_length: int,
    ) -> None:
        """Allocate the caches of all slots.

        Args:
            t5: The language model; its decoder's weights are fused in place.
            decoding: How tokens are chosen, and how many at most.
            slots: How many sequences can run at once.
            source_length: Most positions that the encoder reads for one sequence.
        """
        config = t5.config
        self.slots = slots
        self._max_tokens = decoding.max_new_tokens
        self._special = SpecialTokens(
            config.decoder_start_token_id, config.eos_token_id, config.pad_token_id
        )
        self._decoder = Decoder(t5, slots, decoding.beams, self._max_tokens, source_length)
        self._device = self._decoder.device
        sampler_class = GreedySampler if decoding.beams == 1 else BeamSearchSampler
        self._sampler: Sampler = sampler_class(decoding, slots, self._special, self._device)
        self._on_gpu = self._device.type == "cuda"
        self.steps_per_round = STEPS_PER_GRAPH if self._on_gpu else 1
        self._graphs: StepGraphs | None = None
        if self._on_gpu:
            self._graphs = StepGraphs(
                self._device, slots, self._max_tokens, source_length, self._steps_of_a_round
            )
        self._sequences: list[_Sequence | None] = [None] * slots
        self._snapshots: list[_Snapshot] = []
        self.steps = 0
        self.tokens = 0

    @property
    def free_slots(self) -> int:
        """How many slots are free."""
        return self._sequences.count(None)

    @property
    def active_ids(self) -> list[int]:
        """The ids of the requests that hold a slot."""
        return [each.request_id for each in self._sequences if each is not None]

    @property
    def captured_graphs(self) -> int:
        """How many CUDA graphs were captured so far; 0 on a CPU."""
        return 0 if self._graphs is None else len(self._graphs)

    def admit(
        self,
        request_ids: Sequence[int],
        hidden: torch.Tensor,
        mask: torch.Tensor,
        lengths: Sequence[int],
        limits: Sequence[int],
    ) -> None:
        """Give requests their slots; there must be as many free ones.

        Args:
            request_ids: N ids that come back with the finished sequences.
            hidden: (N, L, W) output of T5's encoder.
            mask: (N, L) on the device; the first `lengths` positions of each are 1.
            lengths: N counts of positions.
            limits: N counts of new tokens, at most.
        """
        free = [n for n, each in enumerate(self._sequences) if each is None][: len(request_ids)]
        slots = to_device(torch.tensor(free), self._device)
        self._decoder.fill(slots, hidden, mask)
        self._sampler.start(slots, to_device(torch.tensor(list(limits)), self._device))
        for slot, request_id, length in zip(free, request_ids, lengths, strict=True):
            self._sequences[slot] = _Sequence(request_id, length)

    def step(self) -> list[Finished]:
        """Run a few decode steps for all active slots; return the finished sequences."""
        if any(self._sequences):
            self._compact()
            self._run()
            self._snapshots.append(_Snapshot(self._sampler.state(), self._sequences))
        # On a GPU the steps just enqueued run while the host looks at the results before them.
        ahead = 1 if self._on_gpu else 0
        finished: list[Finished] = []
        while len(self._snapshots) > ahead or (self._snapshots and not any(self._sequences)):
            finished += self._collect(self._snapshots.pop(0))
        return finished

    def warm_up(self, progress: ProgressCallback = no_progress) -> None:
        """Capture every graph, while all slots are empty; no study waits for one later."""
        if self._graphs is not None:
            self._graphs.capture(progress)

    def drop_all(self) -> None:
        """Drop all active sequences."""
        self._snapshots.clear()
        self._sequences = [None] * self.slots

    def _run(self) -> None:
        active = [each for each in self._sequences if each is not None]
        slots = 1 + max(n for n, each in enumerate(self._sequences) if each is not None)
        tokens = min(self._max_tokens, max(each.steps for each in active) + self.steps_per_round)
        length = max(each.length for each in active)
        if self._graphs is None:
            self._step(slots, tokens, length)
        else:
            self.warm_up()  # captures nothing where the engine was warmed up
            self._graphs.replay(slots, tokens, length)
        for each in active:
            each.steps += self.steps_per_round
        self.steps += self.steps_per_round

    def _steps_of_a_round(self, slots: int, tokens: int, length: int) -> None:
        for _ in range(self.steps_per_round):
            self._step(slots, tokens, length)

    def _step(self, slots: int, tokens: int, length: int) -> None:
        last, positions = self._sampler.inputs(slots)
        parents = self._sampler.advance(self._decoder.step(last, positions, tokens, length))
        if parents is not None:
            self._decoder.reorder(parents, tokens)

    def _compact(self) -> None:
        """Move the last sequences to empty slots before them, so that fewer slots are run.

        All requests that were ready have been admitted, so empty slots stay empty for a while.
        """
        occupied = [n for n, each in enumerate(self._sequences) if each is not None]
        wanted = len(occupied)
        if self._graphs is not None:
            wanted = smallest(self._graphs.slot_sizes, wanted)
        while occupied[-1] >= wanted:
            source, target = occupied.pop(), self._sequences.index(None)
            moved = self._sequences[source]
            if moved is None:
                raise RuntimeError("an empty slot cannot move")
            self._decoder.copy_slot(source, target)
            self._sampler.copy_slot(source, target)
            self._sequences[target], self._sequences[source] = moved, None
            occupied = sorted([*occupied, target])

    def _collect(self, snapshot: _Snapshot) -> list[Finished]:
        """Free the slots of the sequences that had ended when the snapshot was taken."""
        state, running = snapshot.read()
        finished = []
        for slot, sequence in enumerate(snapshot.sequences):
            if sequence is None or running[slot] or sequence not in self._sequences:
                continue
            # The sequence may have moved since the snapshot.
            now = self._sequences.index(sequence)
            self._sequences[now] = None
            count = int(state.count[slot])
            token_ids = state.token_ids[slot, :count].tolist()
            ended = bool(token_ids) and token_ids[-1] == self._special.end
            text_length = len(token_ids) - ended
            self.tokens += count
            logprobs = state.logprobs[slot, :text_length].tolist()
            finished.append(
                Finished(
                    sequence.request_id,
                    tuple(token_ids[:text_length]),
                    tuple(logprobs),
                    cut=not ended,
                    non_finite=bool(state.non_finite[slot]),
                )
            )
        return finished


class _Snapshot:
    """The sampler's state after a few steps, and which sequence was in which slot."""

    def __init__(self, state: SamplerState, sequences: Sequence[_Sequence | None]) -> None:
        self.sequences = list(sequences)
        self._state = state
        self._event: torch.cuda.Event | None = None
        if state.running.is_cuda:
            copies = {f.name: _to_host(getattr(state, f.name)) for f in fields(state)}
            self._state = SamplerState(**copies)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def read(self) -> tuple[SamplerState, list[bool]]:
        """The state on the host and which slots still run; waits until the copy has arrived."""
        if self._event is not None:
            self._event.synchronize()
        return self._state, self._state.running.tolist()


def to_device(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device; to a GPU from pinned memory, so that the host does not wait."""
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
