"""Scores drafts of held-out studies: wording, observations, findings, groups, comparisons.

Every score is a corpus score with its bootstrap interval. Knows no network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.labels import Labeller
from training.evaluation.drafting import Done, Drafts
from training.evaluation.heldout import Group, HeldOutSet
from training.metrics.clinical import Clinical, clinical
from training.metrics.comparisons import compares_with_prior, split_sentences
from training.metrics.findings import FindingCounts, count_findings
from training.metrics.radgraph import RadGraph, radgraph
from training.metrics.resampling import (
    RESAMPLES,
    Interval,
    Paired,
    Statistic,
    among,
    bootstrap,
    joined,
    paired,
)
from training.metrics.text import Measurement, measure

Scores = Mapping[str, Interval]
NORMALISED = ("lower", "raw", "r2gen")
"""The normalisations of wording where none is named."""


@dataclass(frozen=True)
class ScoringConfig:
    """How drafts are scored.

    normalisations: the first is that of groups, tests and cases. radgraph: a folder of its weights.
    """

    labeller: Labeller
    normalisations: tuple[str, ...] = NORMALISED
    resamples: int = RESAMPLES
    seed: int = 0
    radgraph: Path | None = None

    @property
    def first(self) -> str:
        """The normalisation of groups, tests and cases."""
        return self.normalisations[0]


@dataclass(frozen=True)
class SystemScores:
    """Scores of one text for each study.

    wording: by normalisation. observations: CheXpert's, by the labeller, and RadGraph's
    where its weights are. findings: only where what
    was drawn is known. groups: the scores of each, wording by the first normalisation. rouge_l,
    finding_f1: each study by itself; no finding_f1 where `findings` is empty.
    """

    wording: dict[str, Scores]
    observations: Scores
    findings: Scores
    groups: tuple[tuple[Group, Scores], ...]
    rouge_l: tuple[float, ...]
    finding_f1: tuple[float, ...]

    @property
    def main(self) -> Scores:
        """All of them, wording by the first normalisation."""
        return {**next(iter(self.wording.values())), **self.observations, **self.findings}


@dataclass(frozen=True)
class AllScores:
    """Several texts for each study, by the name of who wrote them.

    named: section -> score -> implementation, version, normalisation. notes: section -> score ->
    what a reader of it must know, as why it is not there. A section is a normalisation or
    "observations".
    """

    by_name: dict[str, SystemScores]
    named: dict[str, dict[str, str]]
    notes: dict[str, dict[str, str]]


@dataclass(frozen=True)
class UnsupportedComparisons:
    """Texts that compare with an earlier film although no report of one was in the prompt.

    studies: those without. drafts, references: how many of theirs hold a comparing sentence.
    """

    studies: int
    drafts: int
    references: int


def score(
    held: HeldOutSet,
    writers: Mapping[str, Sequence[str]],
    how: ScoringConfig,
    grouped: Collection[str],
    told: Done,
) -> AllScores:
    """Score several texts for each held-out study. writers: name -> its texts, in order.

    All are measured together, since METEOR 1.5 takes seconds to start. grouped: whose scores are
    wanted by group too.
    """
    together = _Together(held, list(writers.values()), how, told)
    seen, graph = together.seen, together.graph
    by_name = {}
    for number, name in enumerate(writers):
        told("scores and intervals", number, len(writers))
        by_name[name] = together.scored(number, with_groups=name in grouped)
    told("scores and intervals", len(writers), len(writers))
    return AllScores(
        by_name=by_name,
        named={n: dict(one.scores.named) for n, one in together.measured.items()}
        | {"observations": {**seen.named, **({} if graph.note else {"radgraph_f1": graph.name})}},
        notes={n: dict(one.scores.notes) for n, one in together.measured.items()}
        | {"observations": {"radgraph_f1": graph.note} if graph.note else {}},
    )


def compare(
    held: HeldOutSet, first: Sequence[str], second: Sequence[str], how: ScoringConfig, told: Done
) -> dict[str, Paired]:
    """Two systems' drafts of the same studies, tested pair by pair."""
    one_way = replace(how, normalisations=how.normalisations[:1])
    together = _Together(held, [first, second], one_way, told)
    return paired(together.statistic, len(held.examples), resamples=how.resamples, seed=how.seed)


def count_unsupported_comparisons(held: HeldOutSet, drafts: Drafts) -> UnsupportedComparisons:
    """Count what compares with a film that nobody told of."""
    without = [place for place, told in enumerate(drafts.prior_report) if not told]
    return UnsupportedComparisons(
        studies=len(without),
        drafts=sum(_compares(drafts.texts[place]) for place in without),
        references=sum(_compares(held.references[place]) for place in without),
    )


def _compares(text: str) -> bool:
    return any(map(compares_with_prior, split_sentences(text)))


class _Together:
    """All writers' texts measured at once: writer w's text of study n is at w * studies + n."""

    def __init__(
        self, held: HeldOutSet, writers: Sequence[Sequence[str]], how: ScoringConfig, told: Done
    ) -> None:
        self.held, self.how = held, how
        whole = [text for texts in writers for text in texts]
        scored = [held.scored(text) for text in whole]
        references = list(held.references) * len(writers)
        self.measured: dict[str, Measurement] = {}
        for done, name in enumerate(how.normalisations):
            told("measuring the wording", done, len(how.normalisations))
            self.measured[name] = measure(
                scored, [[text] for text in references], normalisation=name
            )
        told("measuring the wording", len(how.normalisations), len(how.normalisations))
        self.seen: Clinical = clinical(scored, references, how.labeller)
        self.graph: RadGraph = radgraph(scored, references, how.radgraph)
        self.counts: FindingCounts | None = None
        if held.truth is not None:
            self.counts = count_findings(held.truth * len(writers), whole)

    @property
    def statistic(self) -> Statistic:
        """Every score, wording by the first normalisation."""
        counts = [] if self.counts is None else [self.counts.of]
        return joined(self.measured[self.how.first].of, self.seen.of, self.graph.of, *counts)

    def scored(self, writer: int, *, with_groups: bool) -> SystemScores:
        """One writer's scores."""
        studies = len(self.held.examples)
        first = writer * studies
        everybody = range(first, first + studies)

        def sure(of: Statistic, places: Sequence[int] = everybody) -> dict[str, Interval]:
            how = self.how
            return bootstrap(among(of, places), len(places), resamples=how.resamples, seed=how.seed)

        counts = self.counts
        rouge = self.measured[self.how.first].cases["rouge_l"]
        return SystemScores(
            wording={name: sure(one.of) for name, one in self.measured.items()},
            observations=sure(joined(self.seen.of, self.graph.of)),
            findings={} if counts is None else sure(counts.of),
            groups=tuple(
                (group, sure(self.statistic, [first + place for place in group.places]))
                for group in (self.held.groups if with_groups else ())
            ),
            rouge_l=tuple(float(rouge[place]) for place in everybody),
            finding_f1=() if counts is None else counts.by_case[first : first + studies],
        )
