"""Beam search for many slots at once, where each slot may be at another length.

The rules are those of transformers' `generate` with `early_stopping=False` (its `_beam_search`), so
that the same beams win. Each step looks at 2 x B continuations. Those that end join the finished
texts; the best B of the others go on. A slot is over when the best text that goes on, at its
present length, cannot beat the worst finished one, or when its limit is reached.

Shapes: S slots, B beams, C = 2 x B continuations, T tokens, V vocabulary. Scores are float32.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from model.decoding import Decoding
from model.inference.sampler import (
    SamplerState,
    SpecialTokens,
    all_finite,
    ban_repeats,
    ban_token,
)

IMPOSSIBLE = -1.0e9
"""The score of a continuation that must not be chosen, as in transformers."""


@dataclass
class _Hypotheses:
    """B texts of every slot.

    Attributes:
        token_ids: (S, B, T + 1), the start token first.
        logprobs: (S, B, T).
        score: (S, B).
        count: (S, B) tokens, the start token not counted.
    """

    token_ids: torch.Tensor
    logprobs: torch.Tensor
    score: torch.Tensor
    count: torch.Tensor

    def select(self, index: torch.Tensor) -> _Hypotheses:
        """The texts at the indices (S, K) of each slot."""
        return _Hypotheses(**{f.name: _select(getattr(self, f.name), index) for f in fields(self)})

    def first(self, slots: int) -> _Hypotheses:
        """The texts of the first slots."""
        return _Hypotheses(**{f.name: getattr(self, f.name)[:slots] for f in fields(self)})

    def joined(self, other: _Hypotheses) -> _Hypotheses:
        """The texts of both, slot by slot."""
        return _Hypotheses(
            **{
                f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)], dim=1)
                for f in fields(self)
            }
        )


class BeamSearchSampler:
    """Keeps the B likeliest texts of each slot, and gives the best of them at the end."""

    def __init__(
        self, decoding: Decoding, slots: int, special: SpecialTokens, device: torch.device
    ) -> None:
        self._beams = beams = decoding.beams
        self._max_tokens = max_tokens = decoding.max_new_tokens
        self._ngram = decoding.no_repeat_ngram
        self._ban_eos = decoding.ban_eos
        self._special = special
        self._limit = torch.zeros(slots, dtype=torch.long, device=device)
        self._count = torch.zeros(slots, dtype=torch.long, device=device)
        self._running = torch.zeros(slots, dtype=torch.bool, device=device)
        self._non_finite = torch.zeros(slots, dtype=torch.bool, device=device)
        # The divisor of a score by length, as a table, because each slot has its own length.
        lengths = torch.arange(max_tokens + 2, dtype=torch.float64)
        self._length_divisor = (lengths**decoding.length_penalty).float().to(device)
        self._open = self._hypotheses(slots, device)
        self._done = self._hypotheses(slots, device)
        self._is_done = torch.zeros((slots, beams), dtype=torch.bool, device=device)
        self._top = torch.arange(2 * beams, device=device) < beams  # (C,)

    def _hypotheses(self, slots: int, device: torch.device) -> _Hypotheses:
        beams, length = self._beams, self._max_tokens
        return _Hypotheses(
            token_ids=torch.full((slots, beams, length + 1), self._special.pad, device=device),
            logprobs=torch.zeros((slots, beams, length), device=device),
            score=torch.zeros((slots, beams), device=device),
            count=torch.zeros((slots, beams), dtype=torch.long, device=device),
        )

    def start(self, slots: torch.Tensor, limits: torch.Tensor) -> None:
        """Start new texts; as `Sampler.start`."""
        self._limit[slots] = limits
        self._count[slots] = 0
        self._running[slots] = True
        self._non_finite[slots] = False
        self._is_done[slots] = False
        for texts in (self._open, self._done):
            texts.token_ids[slots] = self._special.pad
            texts.token_ids[slots, :, 0] = self._special.start
            texts.logprobs[slots] = 0.0
            texts.count[slots] = 0
            texts.score[slots] = IMPOSSIBLE
        # All beams are equal at first, so only one of them may be continued.
        self._open.score[slots, 0] = 0.0

    def inputs(self, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(R,) the last token and (R,) its position."""
        position = self._count[:slots].clamp(max=self._max_tokens - 1)
        position = position[:, None].expand(slots, self._beams)
        last = self._open.token_ids[:slots].gather(2, position[:, :, None])
        return last.reshape(-1), position.reshape(-1)

    def advance(self, logits: torch.Tensor) -> torch.Tensor:
        """Pick one more token for the first rows; as `Sampler.advance`."""
        beams, vocabulary = self._beams, logits.shape[-1]
        slots = len(logits) // beams
        running, count = self._running[:slots], self._count[:slots]
        raw = logits.float().log_softmax(dim=-1)  # (R, V)
        finite = all_finite(logits.float()).view(slots, beams).all(dim=1)
        current, done = self._open.first(slots), self._done.first(slots)
        scores = raw
        if self._ngram:
            lengths = (count + 1).repeat_interleave(beams)
            scores = ban_repeats(scores, current.token_ids.flatten(0, 1), lengths, self._ngram)
        if self._ban_eos:
            scores = ban_token(scores, self._special.end)
        scores = scores.view(slots, beams, vocabulary) + current.score[:, :, None]
        best, places = scores.flatten(1).nan_to_num(nan=IMPOSSIBLE).topk(2 * beams)  # (S, C)
        source, token = places // vocabulary, places % vocabulary
        logprob = raw.view(slots, -1).gather(1, places)
        next_ = current.select(source)
        next_.score, next_.count = best, next_.count + 1
        position = count.clamp(max=self._max_tokens - 1)[:, None, None].expand(slots, 2 * beams, 1)
        next_.token_ids.scatter_(2, position + 1, token[:, :, None])
        next_.logprobs.scatter_(2, position, logprob[:, :, None])

        at_limit = (count + 1 >= self._limit[:slots])[:, None]
        ends = (token == self._special.end) | at_limit  # (S, C)
        going = (best + ends * IMPOSSIBLE).topk(beams)
        open_ = next_.select(going.indices)
        open_.score = going.values
        parent = source.gather(1, going.indices)  # (S, B)

        ended = next_.select(torch.arange(2 * beams, device=logits.device).expand(slots, -1))
        has_ended = ends & self._top
        ended.score = best / self._length_divisor[count + 1][:, None] + ~has_ended * IMPOSSIBLE
        candidates = done.joined(ended)
        ranked = candidates.score.topk(beams)
        finished = candidates.select(ranked.indices)
        is_done = torch.cat([self._is_done[:slots], has_ended], dim=1).gather(1, ranked.indices)

        best_open = open_.score[:, 0] / self._length_divisor[count + 1]
        worst = torch.where(is_done, finished.score.amin(dim=1, keepdim=True), IMPOSSIBLE)  # (S, B)
        may_improve = (best_open[:, None] > worst).any(dim=1)
        unfinished = may_improve & ~ends.all(dim=1) & finite

        _update_where(current, open_, running)
        _update_where(done, finished, running)
        self._is_done[:slots] = torch.where(running[:, None], is_done, self._is_done[:slots])
        self._non_finite[:slots] |= running & ~finite
        own = torch.arange(beams, device=logits.device)
        rows = torch.where(running[:, None], parent, own)
        rows = rows + beams * torch.arange(slots, device=logits.device)[:, None]
        self._count[:slots] += running
        self._running[:slots] &= unfinished
        return rows.reshape(-1)

    def copy_slot(self, source: int, target: int) -> None:
        """Copy the state of one slot to another."""
        tensors = [self._limit, self._count, self._running, self._non_finite, self._is_done]
        for texts in (self._open, self._done):
            tensors += [getattr(texts, f.name) for f in fields(texts)]
        for tensor in tensors:
            tensor[target] = tensor[source]

    def state(self) -> SamplerState:
        """The state on the device, with the best text of each slot."""
        done = self._done
        return SamplerState(
            self._running,
            self._non_finite,
            done.count[:, 0],
            done.token_ids[:, 0, 1:],
            done.logprobs[:, 0],
        )


def _update_where(texts: _Hypotheses, new: _Hypotheses, mask: torch.Tensor) -> None:
    """Replace the texts of the slots where mask (S,) is set, in place."""
    for f in fields(texts):
        old, fresh = getattr(texts, f.name), getattr(new, f.name)
        shaped = mask.view(-1, *[1] * (old.dim() - 1))
        old.copy_(torch.where(shaped, fresh, old))


def _select(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """(S, J, ...): the entries of values (S, K, ...) at the indices (S, J)."""
    shaped = index.view(*index.shape, *[1] * (values.dim() - 2))
    return torch.take_along_dim(values, shaped, dim=1)
