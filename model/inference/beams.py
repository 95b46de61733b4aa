"""Beam search for many slots at once, each at a length of its own. Knows no weights.

The rules are those of transformers' `generate` with `early_stopping=False` (its `_beam_search`), so
that the same beams win: 2 x B continuations are looked at, those that end go among the finished,
the best B of the others go on, and a slot is over when the best of those that go on, at its present
length, could not beat the worst finished one, or when its limit is reached.

Shapes: S slots, B beams, C = 2 x B continuations, T tokens, V vocabulary. Scores are float32.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from model.decoding import Decoding
from model.inference.greedy import Ends, Told, all_finite, ban, ban_repeats

NEVER = -1.0e9
"""The score of what must not be chosen, as in transformers."""


@dataclass
class _Texts:
    """B texts a slot. ids: (S, B, T + 1), the start first. logs: (S, B, T). score: (S, B).

    count: (S, B) tokens without the start.
    """

    ids: torch.Tensor
    logs: torch.Tensor
    score: torch.Tensor
    count: torch.Tensor

    def gathered(self, which: torch.Tensor) -> _Texts:
        """The texts which (S, K), by index among each slot's."""
        return _Texts(**{f.name: _take(getattr(self, f.name), which) for f in fields(self)})

    def put(self, slots: int, other: _Texts) -> None:
        """The first slots' texts become others."""
        for f in fields(self):
            getattr(self, f.name)[:slots] = getattr(other, f.name)

    def first(self, slots: int) -> _Texts:
        """Those of the first slots."""
        return _Texts(**{f.name: getattr(self, f.name)[:slots] for f in fields(self)})

    def beside(self, other: _Texts) -> _Texts:
        """Both, one after the other."""
        return _Texts(
            **{
                f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)], dim=1)
                for f in fields(self)
            }
        )


class Beams:
    """The B likeliest texts of each slot, and of those the best in the end."""

    def __init__(self, decoding: Decoding, slots: int, ends: Ends, device: torch.device) -> None:
        self._beams = beams = decoding.beams
        self._most = most = decoding.max_new_tokens
        self._ngram = decoding.no_repeat_ngram
        self._ban_eos = decoding.ban_eos
        self._ends = ends
        self._limit = torch.zeros(slots, dtype=torch.long, device=device)
        self._count = torch.zeros(slots, dtype=torch.long, device=device)
        self._running = torch.zeros(slots, dtype=torch.bool, device=device)
        self._bad = torch.zeros(slots, dtype=torch.bool, device=device)
        # What a score is divided by, by length; a table, so that each slot has its own.
        lengths = torch.arange(most + 2, dtype=torch.float64)
        self._by_length = (lengths**decoding.length_penalty).float().to(device)
        self._open = self._texts(slots, beams, most, device)
        self._done = self._texts(slots, beams, most, device)
        self._is_done = torch.zeros((slots, beams), dtype=torch.bool, device=device)
        self._top = torch.arange(2 * beams, device=device) < beams  # (C,)

    def _texts(self, slots: int, beams: int, most: int, device: torch.device) -> _Texts:
        return _Texts(
            ids=torch.full((slots, beams, most + 1), self._ends.pad, device=device),
            logs=torch.zeros((slots, beams, most), device=device),
            score=torch.zeros((slots, beams), device=device),
            count=torch.zeros((slots, beams), dtype=torch.long, device=device),
        )

    def begin(self, slots: torch.Tensor, limits: torch.Tensor) -> None:
        """Set slots going. slots, limits: (N,)."""
        self._limit[slots] = limits
        self._count[slots] = 0
        self._running[slots] = True
        self._bad[slots] = False
        self._is_done[slots] = False
        for texts in (self._open, self._done):
            texts.ids[slots] = self._ends.pad
            texts.ids[slots, :, 0] = self._ends.start
            texts.logs[slots] = 0.0
            texts.count[slots] = 0
            texts.score[slots] = NEVER
        # All beams are alike at first: only one may have children.
        self._open.score[slots, 0] = 0.0

    def inputs(self, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(R,) tokens to go on from, and (R,) their positions."""
        place = self._count[:slots].clamp(max=self._most - 1)
        place = place[:, None].expand(slots, self._beams)
        last = self._open.ids[:slots].gather(2, place[:, :, None])
        return last.reshape(-1), place.reshape(-1)

    def advance(self, logits: torch.Tensor) -> torch.Tensor:
        """Take the logits (R, V) one token further; (R,) the row that each goes on from."""
        beams, vocabulary = self._beams, logits.shape[-1]
        slots = len(logits) // beams
        running, count = self._running[:slots], self._count[:slots]
        raw = logits.float().log_softmax(dim=-1)  # (R, V)
        finite = all_finite(logits.float()).view(slots, beams).all(dim=1)
        now, done = self._open.first(slots), self._done.first(slots)
        scores = raw
        if self._ngram:
            lengths = (count + 1).repeat_interleave(beams)
            scores = ban_repeats(scores, now.ids.flatten(0, 1), lengths, self._ngram)
        if self._ban_eos:
            scores = ban(scores, self._ends.end)
        scores = scores.view(slots, beams, vocabulary) + now.score[:, :, None]
        best, places = scores.flatten(1).nan_to_num(nan=NEVER).topk(2 * beams)  # (S, C)
        source, token = places // vocabulary, places % vocabulary
        log = raw.view(slots, -1).gather(1, places)
        next_ = now.gathered(source)
        next_.score, next_.count = best, next_.count + 1
        at = count.clamp(max=self._most - 1)[:, None, None].expand(slots, 2 * beams, 1)
        next_.ids.scatter_(2, at + 1, token[:, :, None])
        next_.logs.scatter_(2, at, log[:, :, None])

        over = (token == self._ends.end) | (count + 1 >= self._limit[:slots])[:, None]  # (S, C)
        going = (best + over * NEVER).topk(beams)
        open_ = next_.gathered(going.indices)
        open_.score = going.values
        parent = source.gather(1, going.indices)  # (S, B)

        ended = next_.gathered(torch.arange(2 * beams, device=logits.device).expand(slots, -1))
        has_ended = over & self._top
        ended.score = best / self._by_length[count + 1][:, None] + ~has_ended * NEVER
        both = done.beside(ended)
        kept = both.score.topk(beams)
        finished = both.gathered(kept.indices)
        is_done = torch.cat([self._is_done[:slots], has_ended], dim=1).gather(1, kept.indices)

        hope = open_.score[:, 0] / self._by_length[count + 1]
        worst = torch.where(is_done, finished.score.amin(dim=1, keepdim=True), NEVER)  # (S, B)
        may_improve = (hope[:, None] > worst).any(dim=1)
        goes_on = may_improve & ~over.all(dim=1) & finite

        self._keep(now, open_, running)
        self._keep(done, finished, running)
        self._is_done[:slots] = torch.where(running[:, None], is_done, self._is_done[:slots])
        self._bad[:slots] |= running & ~finite
        every = torch.arange(beams, device=logits.device)
        rows = torch.where(running[:, None], parent, every)
        rows = rows + beams * torch.arange(slots, device=logits.device)[:, None]
        self._count[:slots] += running
        self._running[:slots] &= goes_on
        return rows.reshape(-1)

    @staticmethod
    def _keep(texts: _Texts, new: _Texts, where: torch.Tensor) -> None:
        """The new texts of the slots where it is so."""
        for f in fields(texts):
            old, fresh = getattr(texts, f.name), getattr(new, f.name)
            shaped = where.view(-1, *[1] * (old.dim() - 1))
            old.copy_(torch.where(shaped, fresh, old))

    def move(self, source: int, target: int) -> None:
        """Copy one slot's state to another."""
        states = [self._limit, self._count, self._running, self._bad, self._is_done]
        for texts in (self._open, self._done):
            states += [getattr(texts, f.name) for f in fields(texts)]
        for state in states:
            state[target] = state[source]

    def told(self) -> Told:
        """The best text of each slot, on the device."""
        done = self._done
        return Told(self._running, self._bad, done.count[:, 0], done.ids[:, 0, 1:], done.logs[:, 0])


def _take(of: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """What stands at the indices (S, J) of (S, K, ...): (S, J, ...)."""
    index = which.view(*which.shape, *[1] * (of.dim() - 2))
    return torch.take_along_dim(of, index, dim=1)
