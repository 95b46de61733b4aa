"""Reads the studies that a bundle is scored on, their groups and their floors.

Only the texts of a study are kept; images stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from model.progress import ProgressCallback
from model.prompting.sections import split_sections
from records.errors import CorpusError
from training.corpus.example import TEST, TRAIN, Corpus, Example, ExcludedStudy
from training.corpus.registry import ENDLESS_CORPORA
from training.evaluation.floors import ENDLESS_TRAINING, read_training, write_floors
from training.metrics.normalisation import normalise_lower

ENDLESS_LIMIT = 500
"""Studies of an endless corpus, where no limit is given."""

NormalFunction = Callable[[Sequence[str]], Sequence[bool]]
"""Returns whether each report is of a normal chest, by a labeller."""


@dataclass(frozen=True)
class Group:
    """Some of the studies, by index; `kind` is what they are grouped by."""

    kind: Literal["views", "normal", "duplicates"]
    name: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class HeldOutSet:
    """A test split, as far as it is scored.

    Attributes:
        corpus: The corpus's name.
        seed: Of the shuffling.
        limit: The requested number of studies; None for all.
        examples: The studies.
        references: The text that each draft is scored against.
        section: "findings" where the corpus's references are of the findings alone: only the
            findings of a draft are scored then. Else "report".
        normal: Whether each study is normal.
        normal_by: Who says which study is normal.
        groups: Groups of studies.
        floors: Floor -> a report for each study.
        duplicates: References that are word for word in the training split.
        training: Studies of the training split that were read.
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
        """The findings that were drawn; None where they are not known of every study."""
        known = [e.truth for e in self.examples if e.truth is not None]
        return known if len(known) == len(self.examples) else None

    def scored_part(self, draft: str) -> str:
        """Return the part of a draft that is scored against the reference."""
        return draft if self.section == "report" else split_sections(draft).findings


def read_held_out_set(
    corpus: Corpus,
    *,
    part: str = TEST,
    limit: int | None,
    seed: int,
    normal: NormalFunction,
    normal_by: str,
    progress: ProgressCallback,
) -> HeldOutSet:
    """Read the test split, and the training split for the floors.

    Args:
        corpus: The corpus.
        part: The split that is scored.
        limit: The first so many studies; None takes all, or ENDLESS_LIMIT of an endless corpus.
        seed: Of the shuffling.
        normal: Says which reports are normal, for corpora that do not say it themselves.
        normal_by: The name of the labeller behind `normal`.
        progress: Is called for each step.

    Raises:
        CorpusError: limit is below 1, or the corpus has no study to test on.
    """
    if limit is not None and limit < 1:
        raise CorpusError(f"a limit of {limit} leaves no study to score; give 1 or more")
    endless = corpus.name in ENDLESS_CORPORA
    if limit is None and endless:
        limit = ENDLESS_LIMIT
    progress(f"reading the {part} split", 0, 1)
    examples = tuple(islice(_examples(corpus, part), limit))
    progress(f"reading the {part} split", 1, 1)
    if not examples:
        raise CorpusError(
            f"the corpus {corpus.name} has no study in its {part} split, so there is nothing to "
            f"score; `nightdraft corpus check {corpus.name} PATH` says what it holds"
        )
    references = tuple(example.target for example in examples)
    progress("reading the training split", 0, 1)
    training = read_training(_examples(corpus, TRAIN), stop=ENDLESS_TRAINING if endless else None)
    progress("reading the training split", 1, 1)
    duplicated = [training.holds(text) for text in references]
    normals, source = _normal(examples, references, normal, normal_by)
    return HeldOutSet(
        corpus=corpus.name,
        seed=seed,
        limit=limit,
        examples=examples,
        references=references,
        section="report" if any(split_sections(t).impression for t in references) else "findings",
        normal=tuple(normals),
        normal_by=source,
        groups=tuple(_groups(examples, references, normals, duplicated)),
        floors=write_floors(
            training, [example.priors.indication for example in examples], references, seed
        ),
        duplicates=sum(duplicated),
        training=training.studies,
    )


def _examples(corpus: Corpus, split: str) -> Iterator[Example]:
    return (s for s in corpus.read(split) if not isinstance(s, ExcludedStudy))


def _normal(
    examples: Sequence[Example], references: Sequence[str], normal: NormalFunction, normal_by: str
) -> tuple[list[bool], str]:
    """Return which studies are normal, and who says so: the drawing, the coders or a labeller."""
    if all(e.truth is not None for e in examples):
        return [not e.truth for e in examples], "what was drawn"
    if all(e.oracle is not None and e.oracle.problems for e in examples):
        problems = [e.oracle.problems if e.oracle else () for e in examples]
        return [tuple(map(str.lower, p)) == ("normal",) for p in problems], "the corpus's coders"
    return list(normal(references)), normal_by


def _groups(
    examples: Sequence[Example],
    references: Sequence[str],
    normals: Sequence[bool],
    duplicated: Sequence[bool],
) -> Iterator[Group]:
    """Yield every group that has a study in it."""
    indices = range(len(examples))
    first: dict[str, int] = {}
    for index, text in enumerate(references):
        first.setdefault(normalise_lower(text), index)
    first_uses = set(first.values())
    counts = [len(example.images) for example in examples]
    groups = [
        *(
            Group("views", f"{n} view{'s' * (n > 1)}", tuple(p for p in indices if counts[p] == n))
            for n in sorted(set(counts))
        ),
        Group("normal", "normal", tuple(p for p in indices if normals[p])),
        Group("normal", "abnormal", tuple(p for p in indices if not normals[p])),
        Group(
            "duplicates",
            "not word for word in the training split",
            tuple(p for p in indices if not duplicated[p]),
        ),
        Group(
            "duplicates",
            "that, and each text once",
            tuple(p for p in indices if not duplicated[p] and p in first_uses),
        ),
    ]
    yield from (group for group in groups if group.indices)
