"""Counts the examples of a corpus as a training will read them, and draws some at random."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from training.corpus.example import SPLITS, TRAIN, VALIDATE, Example
from training.finetuning.training_data import MAX_VALIDATION_EXAMPLES, TrainingData


@dataclass
class ExampleCounts:
    """The examples of a corpus before their films are decoded.

    Args:
        by_split: Split -> examples that are read of it.
        left_out: Reason -> studies that give no example.
        drawn: Training examples, drawn at random.
    """

    by_split: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict)
    drawn: list[Example] = field(default_factory=list)


def count_examples(data: TrainingData, draw: int) -> ExampleCounts:
    """Count the examples of each split; texts are read, no film is decoded.

    Args:
        data: The examples of a training.
        draw: The number of training examples to draw; fewer where there are fewer.

    Raises:
        CorpusError: A file of the corpus is missing or is not what it should be.
    """
    if data.endless:
        drawn = [e for e in islice(data.corpus.read(TRAIN), min(draw, data.limit))
                 if isinstance(e, Example)]  # fmt: skip
        counts = {TRAIN: data.limit, VALIDATE: MAX_VALIDATION_EXAMPLES}
        return ExampleCounts(counts, drawn=drawn)
    by_split, left_out = Counter[str](), Counter[str]()
    drawn, rng = [], random.Random(0)
    for study in data.corpus.read():
        if not isinstance(study, Example):
            left_out[study.reason] += 1
            continue
        by_split[study.split] += 1
        if study.split != TRAIN or (data.limit and by_split[TRAIN] > data.limit):
            continue
        # Each of the n examples so far is drawn with probability draw / n (reservoir sampling).
        if len(drawn) < draw:
            drawn.append(study)
        elif (place := rng.randrange(by_split[TRAIN])) < draw:
            drawn[place] = study
    if data.limit:
        by_split[TRAIN] = min(by_split[TRAIN], data.limit)
    by_split[VALIDATE] = min(by_split[VALIDATE], MAX_VALIDATION_EXAMPLES)
    return ExampleCounts(
        {split: by_split[split] for split in SPLITS if by_split[split]}, dict(left_out), drawn
    )
