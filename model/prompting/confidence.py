"""The model's confidence in the wording of each sentence of a draft.

It is the model's own probability of the words that it chose, given the images, the instruction and
the words before. It is not the probability that the sentence is true: a model can be sure and
wrong, and one that knows two ways to say the same is unsure of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model.prompting.sections import sentence_spans

MAX_MARK_LENGTH = 2
"""Longest mark, in characters, that a tokenizer writes before the start or the rest of a word."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a draft.

    Attributes:
        section: "findings" or "impression".
        text: Its text, as in that section.
        confidence: Geometric mean of its tokens' probabilities, from 0 to 1.
        least: The smallest of these probabilities.
    """

    section: str
    text: str
    confidence: float
    least: float


def sentence_confidences(
    text: str, tokens: Sequence[str], logprobs: Sequence[float]
) -> tuple[Sentence, ...]:
    """Return the sentences of a draft in order, without headings.

    Args:
        text: The draft.
        tokens: Its tokens as the tokenizer names them ("▁The", "ĠThe", "##ing", "</s>").
        logprobs: Natural log of each token's probability.

    Returns:
        No sentence where the tokens do not spell the text. A sentence with a value that is not a
        number is left out.
    """
    starts = _token_starts(text, tokens)
    if starts is None or len(tokens) != len(logprobs):
        return ()
    sentences = []
    for span in sentence_spans(text):
        logs = [
            log
            for start, log in zip(starts, logprobs, strict=True)
            if span.start <= start < span.end and not math.isnan(log)
        ]
        if len(logs) == sum(span.start <= start < span.end for start in starts) > 0:
            part = text[span.start : span.end]
            mean = math.fsum(logs) / len(logs)
            sentences.append(
                Sentence(span.section, part, _probability(mean), _probability(min(logs)))
            )
    return tuple(sentences)


def _token_starts(text: str, tokens: Sequence[str]) -> list[int] | None:
    """Return where in the text each token begins; None where the tokens do not spell it.

    Whitespace is ignored: tokenizers write it as marks of their own, and decoding changes it. A
    token without visible text (a space, a special token) begins where the next token does.
    """
    offsets = [offset for offset, character in enumerate(text) if not character.isspace()]
    visible = "".join(text[offset] for offset in offsets)
    starts, done = [], 0
    for token in tokens:
        starts.append(offsets[done] if done < len(offsets) else len(text))
        piece = "".join(token.split())
        for mark in range(min(MAX_MARK_LENGTH, len(piece)) + 1):
            if visible.startswith(piece[mark:], done):
                done += len(piece) - mark
                break
    return starts if done == len(offsets) else None


def _probability(log: float) -> float:
    return round(min(1.0, math.exp(log)), 4)
