"""What the decode batch needs of a sampler, and the score rules that greedy and beam search share.

A sampler picks the next token of many slots at once and decides when a text ends. All of its state
stays on the device: the host starts a slot, and later copies the state to see what was generated.
Logits that are not finite end their own slot only, and are recorded.

Shapes: S slots, R rows (S x beams), T tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of the tokens that start a text, end it, and fill the room behind it."""

    start: int
    end: int
    pad: int


@dataclass(frozen=True)
class SamplerState:
    """The state of all slots. Tokens of slots that still run are not final.

    Attributes:
        running: (S,) bool, whether the slot still generates.
        non_finite: (S,) bool, whether a logit of the slot was not a finite number.
        count: (S,) generated tokens.
        token_ids: (S, T) generated tokens, the end of text included.
        logprobs: (S, T) natural log of each token's probability.
    """

    running: torch.Tensor
    non_finite: torch.Tensor
    count: torch.Tensor
    token_ids: torch.Tensor
    logprobs: torch.Tensor


class Sampler(Protocol):
    """Picks the next token of every slot."""

    def start(self, slots: torch.Tensor, limits: torch.Tensor) -> None:
        """Start new texts.

        Args:
            slots: (N,) indices of the slots.
            limits: (N,) most new tokens of each.
        """
        ...

    def inputs(self, slots: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(R,) the last token and (R,) its position, for each row of the first `slots` slots."""
        ...

    def advance(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Pick one more token for each of the first rows.

        Args:
            logits: (R, V) of the first rows.

        Returns:
            (R,) the row whose text each row continues; None where each continues its own.
        """
        ...

    def copy_slot(self, source: int, target: int) -> None:
        """Copy the state of one slot to another."""
        ...

    def state(self) -> SamplerState:
        """The state on the device. It changes with the next step, so copy it before."""
        ...


def all_finite(logits: torch.Tensor) -> torch.Tensor:
    """(R,) whether all values of a row (R, V) are finite."""
    # A sum is not finite as soon as one of its parts is not.
    return logits.sum(dim=-1).isfinite()


def ban_token(scores: torch.Tensor, token: int) -> torch.Tensor:
    """The scores (R, V) with one token made impossible."""
    scores = scores.clone()
    scores[:, token] = -torch.inf
    return scores


def ban_repeats(
    scores: torch.Tensor, token_ids: torch.Tensor, lengths: torch.Tensor, size: int
) -> torch.Tensor:
    """The scores without the tokens that would repeat an n-gram of their row.

    The rule is that of transformers' NoRepeatNGramLogitsProcessor, without leaving the device.

    Args:
        scores: (R, V).
        token_ids: (R, T + 1) the tokens of each row, the start token first.
        lengths: (R,) how many tokens of each row exist, the start token included.
        size: n, the length of the n-grams.

    Returns:
        (R, V) scores, -inf where the token is banned.
    """
    places = torch.arange(token_ids.shape[1] - size + 1, device=token_ids.device)  # n-gram starts
    if not len(places):
        return scores
    # The last size - 1 tokens of each row, and the first size - 1 of every complete n-gram.
    tail = lengths[:, None] - (size - 1) + torch.arange(size - 1, device=token_ids.device)
    prefix = token_ids.gather(1, tail.clamp(min=0))  # (R, n - 1)
    ngrams = token_ids.unfold(1, size, 1)  # (R, P, n)
    matches = (ngrams[:, :, : size - 1] == prefix[:, None]).all(dim=-1)  # (R, P)
    complete = places[None] + size <= lengths[:, None]
    banned = matches & complete & (lengths[:, None] >= size - 1)
    # A penalty that is added keeps a token that is banned twice banned, and needs no token list.
    penalty = torch.zeros_like(scores)
    penalty.scatter_reduce_(
        1,
        ngrams[:, :, -1],
        torch.where(banned, -torch.inf, 0.0).to(scores.dtype),
        reduce="amin",
    )
    return scores + penalty
