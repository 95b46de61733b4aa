"""The studies that a bundle is scored on, their groups and their floors. Knows no drafts.

Films stay where they are: what is kept of a study is its words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from model.prompting.sections import split_sections
from records.errors import CorpusError
from training.corpus.example import TEST, TRAIN, Corpus, Example, ExcludedStudy
from training.corpus.registry import ENDLESS_CORPORA
from training.evaluation.drafting import Done
from training.evaluation.floors import ENDLESS_TRAINING, read_training, write_floors
from training.metrics.normalisation import lower

ENDLESS = 500
"""Studies of a corpus without end, where no limit is given."""

Normal = Callable[[Sequence[str]], Sequence[bool]]
"""Whether each report is of a normal chest, by a labeller of text."""


@dataclass(frozen=True)
class Group:
    """Some of the studies. kind: what they are grouped by. places: theirs, in order."""

    kind: Literal["views", "normal", "duplicates"]
    name: str
    places: tuple[int, ...]


@dataclass(frozen=True)
class HeldOutSet:
    """A test split.

    references: the text that each draft is scored against. section: "report", or "findings" where
    the corpus's references are of the findings alone; of a draft that has an impression too, its
    findings are then scored. normal_by: who said which study is normal. floors: name -> a report
    for each study. duplicates: references that stand word for word in the training split.
    training: studies in that, as far as it was read.
    """

    corpus: str
    seed: int
    limit: int | None
    examples: tuple[Example, ...]
    references: tuple[str, ...]
    section: Literal["report", "findings"]
    normal: tuple[bool, ...]
    normal_by: str
    groups: tuple[Group, ...]
    floors: dict[str, list[str]]
    duplicates: int
    training: int

    @property
    def truth(self) -> list[frozenset[str]] | None:
        """The findings that were drawn, where all are known."""
        known = [one.truth for one in self.examples if one.truth is not None]
        return known if len(known) == len(self.examples) else None

    def scored(self, draft: str) -> str:
        """The part of a draft that is scored against the reference."""
        return draft if self.section == "report" else split_sections(draft).findings


def read_held_out_set(
    corpus: Corpus,
    *,
    limit: int | None,
    seed: int,
    normal: Normal,
    normal_by: str,
    told: Done,
) -> HeldOutSet:
    """Read the test split, or its first `limit` studies, and the training split for the floors.

    normal, normal_by: a labeller and its name, for corpora that do not say themselves.

    Raises:
        CorpusError: limit is below 1, or the corpus has no study to test on.
    """
    if limit is not None and limit < 1:
        raise CorpusError(f"a limit of {limit} leaves no study to score; give 1 or more")
    endless = corpus.name in ENDLESS_CORPORA
    if limit is None and endless:
        limit = ENDLESS
    told("reading the test split", 0, 1)
    examples = tuple(islice(_examples(corpus, TEST), limit))
    told("reading the test split", 1, 1)
    if not examples:
        raise CorpusError(
            f"the corpus {corpus.name} has no study in its test split, so there is nothing to "
            f"score; `nightdraft corpus check {corpus.name} PATH` says what it holds"
        )
    references = tuple(one.target for one in examples)
    told("reading the training split", 0, 1)
    training = read_training(_examples(corpus, TRAIN), stop=ENDLESS_TRAINING if endless else None)
    told("reading the training split", 1, 1)
    seen = [training.holds(text) for text in references]
    normals, who = _normal(examples, references, normal, normal_by)
    return HeldOutSet(
        corpus=corpus.name,
        seed=seed,
        limit=limit,
        examples=examples,
        references=references,
        section="report" if any(split_sections(t).impression for t in references) else "findings",
        normal=tuple(normals),
        normal_by=who,
        groups=tuple(_groups(examples, references, normals, seen)),
        floors=write_floors(
            training, [one.priors.indication for one in examples], references, seed
        ),
        duplicates=sum(seen),
        training=training.studies,
    )


def _examples(corpus: Corpus, split: str) -> Iterator[Example]:
    return (one for one in corpus.read(split) if not isinstance(one, ExcludedStudy))


def _normal(
    examples: Sequence[Example], references: Sequence[str], normal: Normal, normal_by: str
) -> tuple[list[bool], str]:
    """Which studies are normal, and who says so: the drawing, the coders, or a labeller."""
    if all(one.truth is not None for one in examples):
        return [not one.truth for one in examples], "what was drawn"
    if all(one.oracle is not None and one.oracle.problems for one in examples):
        coded = [one.oracle.problems if one.oracle else () for one in examples]
        return [tuple(map(str.lower, one)) == ("normal",) for one in coded], "the corpus's coders"
    return list(normal(references)), normal_by


def _groups(
    examples: Sequence[Example],
    references: Sequence[str],
    normals: Sequence[bool],
    seen: Sequence[bool],
) -> Iterator[Group]:
    """Every group that has a study in it."""
    places = range(len(examples))
    first: dict[str, int] = {}
    for place, text in enumerate(references):
        first.setdefault(lower(text), place)
    once = set(first.values())
    counts = [len(one.images) for one in examples]
    groups = [
        *(
            Group("views", f"{n} view{'s' * (n > 1)}", tuple(p for p in places if counts[p] == n))
            for n in sorted(set(counts))
        ),
        Group("normal", "normal", tuple(p for p in places if normals[p])),
        Group("normal", "abnormal", tuple(p for p in places if not normals[p])),
        Group(
            "duplicates",
            "not word for word in the training split",
            tuple(p for p in places if not seen[p]),
        ),
        Group(
            "duplicates",
            "that, and each text once",
            tuple(p for p in places if not seen[p] and p in once),
        ),
    ]
    yield from (group for group in groups if group.places)
