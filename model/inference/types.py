"""The records that travel through the inference engine, from a prompted case to its output."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from model.case import Case

PromptedCase = tuple[Case, str]
"""A case and the instruction that is given with its images."""


@dataclass
class Request:
    """A case on its way through the engine.

    Attributes:
        id: Unique among the requests of one stream.
        case: The study as the model reads it.
        prompt: The instruction given with the images.
        max_new_tokens: Most tokens that are generated for it, the end of text included.
        finding_scores: (C,) float32, the finding head's probabilities once the case is encoded;
            None where the bundle has no finding head.
        arrived_at, gathered_at, admitted_at: When the request was pulled, when its tensors were
            ready and when it took a slot; seconds of `time.perf_counter`, 0 until then.
    """

    id: int
    case: Case
    prompt: str
    max_new_tokens: int
    arrived_at: float
    gathered_at: float = 0.0
    admitted_at: float = 0.0
    finding_scores: torch.Tensor | None = None


@dataclass(frozen=True)
class EncodedGroup:
    """What the encoders make of a group of B cases.

    Attributes:
        hidden: (B, L, W) the output of T5's encoder.
        finding_scores: (B, C) float32, the finding head's probabilities; None where the bundle has
            no finding head.
    """

    hidden: torch.Tensor
    finding_scores: torch.Tensor | None = None


@dataclass
class EncodedRequest:
    """A request that T5's encoder has read.

    Attributes:
        request: The request.
        hidden: (L, W) the encoder's output.
        mask: (L,) 1 at the positions that count, 0 at padding.
        length: How many positions count.
    """

    request: Request
    hidden: torch.Tensor
    mask: torch.Tensor
    length: int


@dataclass(frozen=True)
class Finished:
    """The tokens of a sequence that has ended.

    Attributes:
        request_id: The request that it was generated for.
        token_ids: The new tokens without the end of text.
        logprobs: Natural log of each token's probability.
        cut: Whether the text reached its limit before it ended.
        non_finite: Whether a logit was not a finite number. The tokens are then meaningless.
    """

    request_id: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    cut: bool
    non_finite: bool


@dataclass(frozen=True)
class RequestOutput:
    """The generated text of one case.

    Attributes:
        key: The case's key.
        prompt: The instruction that was given.
        text: The whole text.
        tokens, logprobs: One each per new token; the end of text is not counted.
        seconds: Wall time of each stage, including work shared with the rest of the batch.
        cut: Whether the text reached its limit before it ended.
        rerun: The number format in which the case was run a second time, because half precision
            gave a value that is not a number; "" where it was not.
        finding_scores: The finding head's probability by observation; empty where the bundle has no
            finding head, or it gave values that are not numbers.
    """

    key: str
    prompt: str
    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    seconds: dict[str, float]
    cut: bool
    rerun: str = ""
    finding_scores: dict[str, float] = field(default_factory=dict)
