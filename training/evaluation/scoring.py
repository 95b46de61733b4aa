"""Scores drafts of held-out studies: wording, observations, findings, groups, comparisons.

Every score is a corpus score with its bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.labels import Labeller
from model.progress import ProgressCallback
from training.evaluation.drafting import Drafts
from training.evaluation.heldout import Group, HeldOutSet
from training.metrics.clinical import ClinicalScores, score_clinical
from training.metrics.comparisons import compares_with_prior, split_sentences
from training.metrics.findings import FindingCounts, count_findings
from training.metrics.radgraph import RadGraphScores, score_radgraph
from training.metrics.resampling import (
    RESAMPLES,
    Interval,
    PairedResult,
    Statistic,
    bootstrap,
    combine,
    paired_test,
    restrict,
)
from training.metrics.text import Measurement, measure

Scores = Mapping[str, Interval]
DEFAULT_NORMALISATIONS = ("lower", "raw", "r2gen")
"""The normalisations of wording, where none is given."""


@dataclass(frozen=True)
class ScoringConfig:
    """How drafts are scored.

    Attributes:
        labeller: Labels observations.
        normalisations: Of the wording; the first is used for groups, tests and single cases.
        resamples: Of the bootstrap and of the paired test.
        seed: Of the shuffling and the resamples.
        radgraph: The folder of RadGraph's weights; None leaves it out.
    """

    labeller: Labeller
    normalisations: tuple[str, ...] = DEFAULT_NORMALISATIONS
    resamples: int = RESAMPLES
    seed: int = 0
    radgraph: Path | None = None

    @property
    def first(self) -> str:
        """The normalisation of groups, tests and cases."""
        return self.normalisations[0]


@dataclass(frozen=True)
class SystemScores:
    """The scores of one system: of one text for each study.

    Attributes:
        wording: Normalisation -> scores.
        observations: CheXpert's, by the labeller, and RadGraph's where its weights are present.
        findings: Only where what was drawn is known.
        groups: Each group with its scores, wording by the first normalisation.
        rouge_l: Of each study alone.
        finding_f1: Of each study alone; empty where `findings` is empty.
    """

    wording: dict[str, Scores]
    observations: Scores
    findings: Scores
    groups: tuple[tuple[Group, Scores], ...]
    rouge_l: tuple[float, ...]
    finding_f1: tuple[float, ...]

    @property
    def main(self) -> Scores:
        """All scores together, wording by the first normalisation."""
        return {**next(iter(self.wording.values())), **self.observations, **self.findings}


@dataclass(frozen=True)
class AllScores:
    """The scores of several systems.

    Attributes:
        by_system: System -> its scores.
        descriptions: Section -> score -> implementation, version, normalisation. A section is a
            normalisation or "observations".
        notes: Section -> score -> what a reader must know about it, such as why it is missing.
    """

    by_system: dict[str, SystemScores]
    descriptions: dict[str, dict[str, str]]
    notes: dict[str, dict[str, str]]


@dataclass(frozen=True)
class UnsupportedComparisons:
    """Texts that compare with an earlier study although the prompt held no prior report.

    The field names are JSON keys.

    Attributes:
        studies: The number of studies without a prior report.
        drafts, references: How many of theirs have a comparing sentence.
    """

    studies: int
    drafts: int
    references: int


def score_systems(
    held_out: HeldOutSet,
    systems: Mapping[str, Sequence[str]],
    scoring: ScoringConfig,
    grouped: Collection[str],
    progress: ProgressCallback,
) -> AllScores:
    """Score several systems on the held-out studies.

    All are measured together, since METEOR 1.5 takes seconds to start.

    Args:
        held_out: The studies.
        systems: System -> its text for each study, in order.
        scoring: How to score.
        grouped: The systems whose scores are wanted for each group too.
        progress: Is called for each step.
    """
    joint = _JointMeasurement(held_out, list(systems.values()), scoring, progress)
    clinical, graph = joint.clinical, joint.radgraph
    by_system = {}
    for number, name in enumerate(systems):
        progress("scores and intervals", number, len(systems))
        by_system[name] = joint.system_scores(number, with_groups=name in grouped)
    progress("scores and intervals", len(systems), len(systems))
    descriptions = {n: dict(m.scores.descriptions) for n, m in joint.wording.items()}
    notes = {n: dict(m.scores.notes) for n, m in joint.wording.items()}
    graph_description = {} if graph.note else {"radgraph_f1": graph.name}
    return AllScores(
        by_system=by_system,
        descriptions=descriptions
        | {"observations": {**clinical.descriptions, **graph_description}},
        notes=notes | {"observations": {"radgraph_f1": graph.note} if graph.note else {}},
    )


def compare_systems(
    held_out: HeldOutSet,
    first: Sequence[str],
    second: Sequence[str],
    scoring: ScoringConfig,
    progress: ProgressCallback,
) -> dict[str, PairedResult]:
    """Test two systems' drafts of the same studies, pair by pair."""
    first_only = replace(scoring, normalisations=scoring.normalisations[:1])
    joint = _JointMeasurement(held_out, [first, second], first_only, progress)
    return paired_test(
        joint.statistic, len(held_out.examples), resamples=scoring.resamples, seed=scoring.seed
    )


def count_unsupported_comparisons(held_out: HeldOutSet, drafts: Drafts) -> UnsupportedComparisons:
    """Count the texts that compare with an earlier study that the prompt says nothing of."""
    without = [index for index, had_prior in enumerate(drafts.prior_report) if not had_prior]
    return UnsupportedComparisons(
        studies=len(without),
        drafts=sum(_has_comparison(drafts.texts[index]) for index in without),
        references=sum(_has_comparison(held_out.references[index]) for index in without),
    )


def _has_comparison(text: str) -> bool:
    return any(map(compares_with_prior, split_sentences(text)))


class _JointMeasurement:
    """All systems' texts measured at once; system s's text of study n is case s * studies + n."""

    def __init__(
        self,
        held_out: HeldOutSet,
        systems: Sequence[Sequence[str]],
        scoring: ScoringConfig,
        progress: ProgressCallback,
    ) -> None:
        self.held_out, self.scoring = held_out, scoring
        texts = [text for system in systems for text in system]
        parts = [held_out.scored_part(text) for text in texts]
        references = list(held_out.references) * len(systems)
        count = len(scoring.normalisations)
        self.wording: dict[str, Measurement] = {}
        for done, name in enumerate(scoring.normalisations):
            progress("measuring the wording", done, count)
            self.wording[name] = measure(parts, [[text] for text in references], normalisation=name)
        progress("measuring the wording", count, count)
        self.clinical: ClinicalScores = score_clinical(parts, references, scoring.labeller)
        self.radgraph: RadGraphScores = score_radgraph(parts, references, scoring.radgraph)
        self.findings: FindingCounts | None = None
        if held_out.truth is not None:
            self.findings = count_findings(held_out.truth * len(systems), texts)

    @property
    def statistic(self) -> Statistic:
        """Every score, wording by the first normalisation."""
        findings = [] if self.findings is None else [self.findings.scores_at]
        return combine(
            self.wording[self.scoring.first].scores_at,
            self.clinical.scores_at,
            self.radgraph.scores_at,
            *findings,
        )

    def system_scores(self, system: int, *, with_groups: bool) -> SystemScores:
        """Return the scores of one system."""
        studies = len(self.held_out.examples)
        first = system * studies
        all_cases = range(first, first + studies)

        def with_intervals(
            statistic: Statistic, indices: Sequence[int] = all_cases
        ) -> dict[str, Interval]:
            return bootstrap(
                restrict(statistic, indices),
                len(indices),
                resamples=self.scoring.resamples,
                seed=self.scoring.seed,
            )

        findings = self.findings
        rouge = self.wording[self.scoring.first].cases["rouge_l"]
        observations = combine(self.clinical.scores_at, self.radgraph.scores_at)
        return SystemScores(
            wording={name: with_intervals(m.scores_at) for name, m in self.wording.items()},
            observations=with_intervals(observations),
            findings={} if findings is None else with_intervals(findings.scores_at),
            groups=tuple(
                (group, with_intervals(self.statistic, [first + n for n in group.indices]))
                for group in (self.held_out.groups if with_groups else ())
            ),
            rouge_l=tuple(float(rouge[index]) for index in all_cases),
            finding_f1=() if findings is None else findings.by_case[first : first + studies],
        )
