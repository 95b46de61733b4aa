"""Which token comes next, greedily, for many slots at once, and when a text ends. Knows no weights.

All of it stays on the device: the host sets a slot going, and later reads what came of it.
Logits that are no numbers end their slot alone, and are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from model.decoding import Decoding


@dataclass(frozen=True)
class Ends:
    """What a text starts and ends with, and stands in for what is not there."""

    start: int
    end: int
    pad: int


@dataclass(frozen=True)
class Told:
    """What came of all slots, as last copied to the host; rows of slots that run mean nothing yet.

    running, bad: (S,) bool; bad where logits were no numbers. count: (S,) tokens. ids: (S, T),
    the end of text among them. logs: (S, T) natural log of each token's probability.
    """

    running: torch.Tensor
    bad: torch.Tensor
    count: torch.Tensor
    ids: torch.Tensor
    logs: torch.Tensor


class Choosing(Protocol):
    """What the slots need of a way to choose."""

    def begin(self, slots: torch.Tensor, limits: torch.Tensor) -> None:
        """Set slots going. slots, limits: (N,); a limit is the most new tokens."""
        ...

    def inputs(self, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(R,) tokens to go on from, and (R,) their positions, of the first slots."""
        ...

    def advance(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Take the logits (R, V) of the first rows one token further.

        Returns:
            (R,) the row that each goes on from; None where each goes on from itself.
        """
        ...

    def move(self, source: int, target: int) -> None:
        """Copy one slot's state to another."""
        ...

    def told(self) -> Told:
        """The state on the device, to be copied."""
        ...


class Greedy:
    """The likeliest token, as transformers' `generate` takes it: of float32 logits, the first."""

    def __init__(self, decoding: Decoding, slots: int, ends: Ends, device: torch.device) -> None:
        self._most = decoding.max_new_tokens
        self._ngram = decoding.no_repeat_ngram
        self._ban_eos = decoding.ban_eos
        self._ends = ends
        self._every = torch.arange(slots, device=device)
        self._count = torch.zeros(slots, dtype=torch.long, device=device)
        self._limit = torch.zeros(slots, dtype=torch.long, device=device)
        self._running = torch.zeros(slots, dtype=torch.bool, device=device)
        self._bad = torch.zeros(slots, dtype=torch.bool, device=device)
        # The start stands before the first token, so that n-grams see it, as in transformers.
        self._ids = torch.full((slots, self._most + 1), ends.pad, device=device)
        self._logs = torch.zeros((slots, self._most), device=device)

    def begin(self, slots: torch.Tensor, limits: torch.Tensor) -> None:
        """Set slots going. slots, limits: (N,)."""
        self._count[slots] = 0
        self._limit[slots] = limits
        self._running[slots] = True
        self._bad[slots] = False
        self._ids[slots] = self._ends.pad
        self._ids[slots, 0] = self._ends.start

    def inputs(self, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(S,) tokens to go on from, and (S,) their positions."""
        # One that has ended stands still, whatever is run over it.
        place = self._count[:slots].clamp(max=self._most - 1)
        return self._ids[self._every[:slots], place], place

    def advance(self, logits: torch.Tensor) -> None:
        """Take the logits (S, V) of the first slots one token further."""
        slots = len(logits)
        running, count = self._running[:slots], self._count[:slots]
        raw = logits.float()
        finite = all_finite(raw)
        scores = raw
        if self._ngram:
            scores = ban_repeats(scores, self._ids[:slots], count + 1, self._ngram)
        if self._ban_eos:
            scores = ban(scores, self._ends.end)
        token = scores.argmax(dim=-1)
        # Not logsumexp: on a CPU its exponential falls a hundredfold behind at logits far apart.
        log = raw.log_softmax(dim=-1).gather(1, token[:, None])[:, 0]
        _put(self._ids, count + 1, token, running)
        _put(self._logs, count, log, running)
        self._count[:slots] += running
        self._bad[:slots] |= running & ~finite
        over = (token == self._ends.end) | (self._count[:slots] >= self._limit[:slots]) | ~finite
        self._running[:slots] &= ~over

    def move(self, source: int, target: int) -> None:
        """Copy one slot's state to another."""
        for state in (self._count, self._limit, self._running, self._bad, self._ids, self._logs):
            state[target] = state[source]

    def told(self) -> Told:
        """The state on the device, to be copied."""
        return Told(self._running, self._bad, self._count, self._ids[:, 1:], self._logs)


def all_finite(logits: torch.Tensor) -> torch.Tensor:
    """(R,) whether a row (R, V) is all numbers; a sum is none as soon as one of its parts is."""
    return logits.sum(dim=-1).isfinite()


def ban(scores: torch.Tensor, token: int) -> torch.Tensor:
    """The scores (R, V) with one token out of the question."""
    scores = scores.clone()
    scores[:, token] = -torch.inf
    return scores


def ban_repeats(
    scores: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor, size: int
) -> torch.Tensor:
    """The scores (R, V) without tokens that would end `size` tokens which a row has already.

    ids: (R, T + 1) of which the first lengths (R,) are told. As transformers'
    NoRepeatNGramLogitsProcessor, without leaving the device.
    """
    places = torch.arange(ids.shape[1] - size + 1, device=ids.device)  # where an n-gram begins
    if not len(places):
        return scores
    # The last size - 1 tokens of each row, and those of every n-gram that is whole.
    tail = lengths[:, None] - (size - 1) + torch.arange(size - 1, device=ids.device)  # (R, n - 1)
    wanted = ids.gather(1, tail.clamp(min=0))  # (R, n - 1)
    heads = ids.unfold(1, size, 1)  # (R, P, n)
    same = (heads[:, :, : size - 1] == wanted[:, None]).all(dim=-1)  # (R, P)
    whole = places[None] + size <= lengths[:, None]
    banned = same & whole & (lengths[:, None] >= size - 1)
    # Adding keeps what is banned twice banned, and needs no list of tokens.
    price = torch.zeros_like(scores)
    price.scatter_reduce_(
        1,
        heads[:, :, -1],
        torch.where(banned, -torch.inf, 0.0).to(scores.dtype),
        reduce="amin",
    )
    return scores + price


def _put(
    state: torch.Tensor, places: torch.Tensor, values: torch.Tensor, where: torch.Tensor
) -> None:
    """state[i, places[i]] = values[i] for the rows where it is so; others are left as they are."""
    at = places.clamp(max=state.shape[1] - 1)[:, None]
    rows = state[: len(places)]
    kept = torch.where(where[:, None], values[:, None].to(state.dtype), rows.gather(1, at))
    rows.scatter_(1, at, kept)
