"""Picks the likeliest next token for many slots at once (greedy decoding)."""

from __future__ import annotations

import torch

from model.decoding import Decoding
from model.inference.sampler import (
    SamplerState,
    SpecialTokens,
    all_finite,
    ban_repeats,
    ban_token,
)


class GreedySampler:
    """Picks the first maximum of the float32 logits, as transformers' `generate` does."""

    def __init__(
        self, decoding: Decoding, slots: int, special: SpecialTokens, device: torch.device
    ) -> None:
        self._max_tokens = decoding.max_new_tokens
        self._ngram = decoding.no_repeat_ngram
        self._ban_eos = decoding.ban_eos
        self._special = special
        self._slot_indices = torch.arange(slots, device=device)
        self._count = torch.zeros(slots, dtype=torch.long, device=device)
        self._limit = torch.zeros(slots, dtype=torch.long, device=device)
        self._running = torch.zeros(slots, dtype=torch.bool, device=device)
        self._non_finite = torch.zeros(slots, dtype=torch.bool, device=device)
        # The start token comes first, so that n-grams include it, as in transformers.
        self._token_ids = torch.full((slots, self._max_tokens + 1), special.pad, device=device)
        self._logprobs = torch.zeros((slots, self._max_tokens), device=device)

    def start(self, slots: torch.Tensor, limits: torch.Tensor) -> None:
        """Start new texts; as `Sampler.start`."""
        self._count[slots] = 0
        self._limit[slots] = limits
        self._running[slots] = True
        self._non_finite[slots] = False
        self._token_ids[slots] = self._special.pad
        self._token_ids[slots, 0] = self._special.start

    def inputs(self, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(S,) the last token and (S,) its position."""
        # A slot that has ended stays at its last position, however many steps still run over it.
        position = self._count[:slots].clamp(max=self._max_tokens - 1)
        return self._token_ids[self._slot_indices[:slots], position], position

    def advance(self, logits: torch.Tensor) -> None:
        """Pick one more token for the first slots; logits: (S, V)."""
        slots = len(logits)
        running, count = self._running[:slots], self._count[:slots]
        raw = logits.float()
        finite = all_finite(raw)
        scores = raw
        if self._ngram:
            scores = ban_repeats(scores, self._token_ids[:slots], count + 1, self._ngram)
        if self._ban_eos:
            scores = ban_token(scores, self._special.end)
        token = scores.argmax(dim=-1)
        # logsumexp would do, but on a CPU its exponential is a hundred times slower where logits
        # are far apart.
        logprob = raw.log_softmax(dim=-1).gather(1, token[:, None])[:, 0]
        _write_where(self._token_ids, count + 1, token, running)
        _write_where(self._logprobs, count, logprob, running)
        self._count[:slots] += running
        self._non_finite[:slots] |= running & ~finite
        ended = (
            (token == self._special.end) | (self._count[:slots] >= self._limit[:slots]) | ~finite
        )
        self._running[:slots] &= ~ended

    def copy_slot(self, source: int, target: int) -> None:
        """Copy the state of one slot to another."""
        for tensor in (
            self._count,
            self._limit,
            self._running,
            self._non_finite,
            self._token_ids,
            self._logprobs,
        ):
            tensor[target] = tensor[source]

    def state(self) -> SamplerState:
        """The state on the device."""
        return SamplerState(
            self._running, self._non_finite, self._count, self._token_ids[:, 1:], self._logprobs
        )


def _write_where(
    target: torch.Tensor, positions: torch.Tensor, values: torch.Tensor, mask: torch.Tensor
) -> None:
    """target[i, positions[i]] = values[i] for the rows where mask[i]; other rows stay."""
    index = positions.clamp(max=target.shape[1] - 1)[:, None]
    rows = target[: len(positions)]
    new = torch.where(mask[:, None], values[:, None].to(target.dtype), rows.gather(1, index))
    rows.scatter_(1, index, new)
