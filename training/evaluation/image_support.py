"""Scores what a bundle's finding head says of its drafts, with its own films and with others.

A head is of use where it supports findings that are rightly named and contradicts those that are
wrongly named. What is right is what a labeller reads in the study's report. With the scores of
another study's films the support of a draft must fall: support that stays comes from how often a
finding occurs, and not from the film.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.labels.base import OBSERVATIONS, Labeller, Labels
from model.manifest import Manifest
from model.support.calibration import Calibration
from model.support.statements import Support, Verdict, assess, presence_of
from training.evaluation.drafting import Drafts
from training.evaluation.heldout import HeldOutSet
from training.evaluation.scoring import Scores, ScoringConfig
from training.metrics.findings import swapped_indices
from training.metrics.ranking import roc_auc
from training.metrics.resampling import bootstrap

AUC = "support_auc"
RIGHT_SUPPORTED, WRONG_CONTRADICTED = "right_supported", "wrong_not_supported"
OMISSIONS, OMISSIONS_RIGHT = "omissions_per_study", "omissions_right"
VERDICTS = {verdict: str(verdict).replace(" ", "_") for verdict in Verdict}
"""Verdict -> the name of its share of all statements."""


@dataclass(frozen=True)
class SupportScores:
    """What the head says of some drafts; field names are JSON keys.

    Attributes:
        studies: Drafts that were assessed.
        statements: Findings that their sentences name, each sentence by itself.
        right, wrong: Findings that drafts name rightly and wrongly, each once a draft. One that the
            report is uncertain of is neither.
        omissions: Observation -> drafts that omit it although the head sees it.
        scores: The share of statements with each verdict; of rightly named findings that are
            supported and of wrongly named ones that are not; omissions a study, and the share of
            them that the report has; how well the head's scores tell rightly named findings from
            wrongly named ones (area under the ROC curve).
    """

    studies: int
    statements: int
    right: int
    wrong: int
    omissions: Mapping[str, int]
    scores: Scores


@dataclass(frozen=True)
class ImageSupport:
    """The image support of a bundle's drafts in one prior mode.

    Attributes:
        calibration_studies: Studies that the thresholds were made from.
        error_rate: The share of errors that the thresholds allow.
        own: By the scores of each study's own films.
        swapped: The same drafts, by the scores of another study's films.
    """

    calibration_studies: int
    error_rate: float
    own: SupportScores
    swapped: SupportScores


def score_image_support(
    manifest: Manifest, held_out: HeldOutSet, drafts: Drafts, scoring: ScoringConfig
) -> ImageSupport | None:
    """Score the image support of drafts, with the bundle's own thresholds.

    Returns:
        None where the bundle has no calibrated finding head, or no draft has scores.
    """
    if not manifest.finding_head:
        return None
    calibration = Calibration.from_json(manifest.finding_head["calibration"])
    own = dict(enumerate(drafts.finding_scores))
    sources = swapped_indices([len(example.images) for example in held_out.examples])
    swapped = {n: own.get(source, {}) for n, source in enumerate(sources) if n != source}
    if not calibration.thresholds or not any(own.values()):
        return None
    texts = [held_out.scored_part(text) for text in drafts.texts]
    labeller = _RememberedLabels(scoring.labeller)
    presence = [presence_of(labels) for labels in labeller.label(held_out.references)]

    def scores_by(films: Mapping[int, Mapping[str, float]]) -> SupportScores:
        # A study that failed has no scores of its own; with another's its empty draft is no draft.
        studies = [n for n, scores in films.items() if scores and own[n]]
        supports = [assess(texts[n], films[n], calibration, labeller) for n in studies]
        return _score(supports, [presence[n] for n in studies], scoring)

    return ImageSupport(
        calibration.studies, calibration.error_rate, scores_by(own), scores_by(swapped)
    )


def _score(
    supports: Sequence[Support],
    presence: Sequence[Mapping[str, bool | None]],
    scoring: ScoringConfig,
) -> SupportScores:
    counts = _Counts.of(supports, presence)
    omitted = Counter(omission.observation for each in supports for omission in each.omissions)
    named = np.concatenate(counts.named) if counts.named else np.empty((0, 2))
    return SupportScores(
        studies=len(supports),
        statements=int(counts.verdicts.sum()),
        right=int((named[:, 1] == 1.0).sum()),
        wrong=int((named[:, 1] == 0.0).sum()),
        omissions={name: omitted[name] for name in OBSERVATIONS if omitted[name]},
        scores=bootstrap(
            counts.scores_at, len(supports), resamples=scoring.resamples, seed=scoring.seed
        )
        if supports
        else {},
    )


@dataclass(frozen=True)
class _Counts:
    """What was said of each of n drafts.

    Attributes:
        verdicts: (n, 4) statements with each verdict, in the order of `Verdict`.
        agreement: (n, 4) rightly named findings and those of them that are supported; wrongly named
            ones and those of them that are not.
        omissions: (n, 2) omissions, and those of them that the report has.
        named: Of each draft (m, 2) the score of each finding that it names, and whether the report
            has it.
    """

    verdicts: NDArray[np.int64]
    agreement: NDArray[np.int64]
    omissions: NDArray[np.int64]
    named: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(
        cls, supports: Sequence[Support], presence: Sequence[Mapping[str, bool | None]]
    ) -> _Counts:
        verdicts, agreement, omissions, named = [], [], [], []
        for support, has in zip(supports, presence, strict=True):
            kinds = Counter(statement.verdict for statement in support.statements)
            verdicts.append([kinds[verdict] for verdict in Verdict])
            findings = {s.observation: s for s in support.statements}.values()
            right = [s for s in findings if has[s.observation] is True]
            wrong = [s for s in findings if has[s.observation] is False]
            agreement.append(
                [
                    len(right),
                    sum(s.verdict is Verdict.SUPPORTED for s in right),
                    len(wrong),
                    sum(s.verdict is Verdict.NOT_SUPPORTED for s in wrong),
                ]
            )
            omissions.append(
                [
                    len(support.omissions),
                    sum(has[each.observation] is True for each in support.omissions),
                ]
            )
            pairs = [
                (s.score, is_right)
                for group, is_right in ((right, 1.0), (wrong, 0.0))
                for s in group
                if s.score is not None
            ]
            named.append(np.array(pairs, np.float64).reshape(-1, 2))
        return cls(
            np.array(verdicts, np.int64).reshape(-1, len(Verdict)),
            np.array(agreement, np.int64).reshape(-1, 4),
            np.array(omissions, np.int64).reshape(-1, 2),
            tuple(named),
        )

    def scores_at(self, indices: NDArray[np.int64]) -> dict[str, float]:
        """Return the scores of some drafts; an index may occur several times.

        A score is NaN where there is nothing to count.
        """
        verdicts = self.verdicts[indices].sum(axis=0)
        right, supported, wrong, contradicted = self.agreement[indices].sum(axis=0)
        omitted, omitted_right = self.omissions[indices].sum(axis=0)
        named = np.concatenate([self.named[index] for index in indices])
        auc = roc_auc(named[:, 0].tolist(), (named[:, 1] == 1.0).tolist())
        return {
            **{
                VERDICTS[verdict]: _ratio(count, verdicts.sum())
                for verdict, count in zip(Verdict, verdicts, strict=True)
            },
            RIGHT_SUPPORTED: _ratio(supported, right),
            WRONG_CONTRADICTED: _ratio(contradicted, wrong),
            OMISSIONS: _ratio(omitted, len(indices)),
            OMISSIONS_RIGHT: _ratio(omitted_right, omitted),
            AUC: math.nan if auc is None else auc,
        }


class _RememberedLabels:
    """A labeller that reads each text once, for sentences occur again and again."""

    def __init__(self, labeller: Labeller) -> None:
        self._labeller = labeller
        self._labels: dict[str, Labels] = {}
        self.name, self.key = labeller.name, labeller.key

    def label(self, texts: Sequence[str]) -> list[Labels]:
        new = [text for text in dict.fromkeys(texts) if text not in self._labels]
        self._labels |= dict(zip(new, self._labeller.label(new), strict=True))
        return [self._labels[text] for text in texts]

    def are_normal(self, texts: Sequence[str]) -> list[bool]:
        return self._labeller.are_normal(texts)


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else math.nan
