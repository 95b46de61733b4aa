"""How sure the model was of each sentence's words. Knows no tokenizer, no network and no rows.

It is the model's own probability of the words that it chose, given the films, the instruction and
the words before: not the probability that the sentence is true. A model can be sure and wrong; and
one that knows two ways to say the same is unsure of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model.prompting.sections import sentence_spans

LONGEST_MARK = 2
"""Characters that a tokenizer writes before a piece to say where a word begins or goes on."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a draft.

    section: "findings" or "impression". text: as it stands in that section. confidence: geometric
    mean of its tokens' probabilities. least: the smallest of them. Both are 0 to 1.
    """

    section: str
    text: str
    confidence: float
    least: float


def sentence_confidences(
    text: str, tokens: Sequence[str], logprobs: Sequence[float]
) -> tuple[Sentence, ...]:
    """The sentences of a draft in their order, headings left out.

    tokens: as the tokenizer names its pieces ("▁The", "ĠThe", "##ing", "</s>"). logprobs: natural
    log of each one's probability. Where the tokens do not spell the text there is nothing to say
    of any sentence, so none comes back; a sentence with a value that is not a number is left out.
    """
    starts = _starts(text, tokens)
    if starts is None or len(tokens) != len(logprobs):
        return ()
    found = []
    for span in sentence_spans(text):
        logs = [
            log
            for at, log in zip(starts, logprobs, strict=True)
            if span.start <= at < span.end and not math.isnan(log)
        ]
        if len(logs) == sum(span.start <= at < span.end for at in starts) > 0:
            words = text[span.start : span.end]
            mean = math.fsum(logs) / len(logs)
            found.append(Sentence(span.section, words, _probability(mean), _probability(min(logs))))
    return tuple(found)


def _starts(text: str, tokens: Sequence[str]) -> list[int] | None:
    """Where in the text each token begins; None where they do not spell it.

    Whitespace counts for nothing: tokenizers keep it in marks of their own, and decoding changes
    it. A token without visible text (a space, a special token) begins where the next one does.
    """
    places = [at for at, character in enumerate(text) if not character.isspace()]
    visible = "".join(text[at] for at in places)
    starts, done = [], 0
    for token in tokens:
        starts.append(places[done] if done < len(places) else len(text))
        piece = "".join(token.split())
        for mark in range(min(LONGEST_MARK, len(piece)) + 1):
            if visible.startswith(piece[mark:], done):
                done += len(piece) - mark
                break
    return starts if done == len(places) else None


def _probability(log: float) -> float:
    return round(min(1.0, math.exp(log)), 4)
