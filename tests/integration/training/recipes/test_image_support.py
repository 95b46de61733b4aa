"""The shipped bundle's finding head on held-out phantoms of three sites, and on swapped images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

import pytest

from model.inference.engine import Engine
from model.inference.types import RequestOutput
from model.labels import Label, RuleLabeller
from model.manifest import read_manifest
from model.prompting.prompt import build_instruction
from model.support.calibration import Calibration
from model.support.drift import Drift, measure_drift
from model.support.statements import Verdict, assess
from training.corpus.example import TEST, Example
from training.corpus.phantom_corpus import PhantomCorpus
from training.corpus.phantoms import SITES
from training.metrics.ranking import roc_auc

pytestmark = pytest.mark.slow

STUDIES = 160
LABELLER = RuleLabeller()
CALIBRATION = Calibration.from_json(read_manifest("demo").finding_head["calibration"])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load("demo", "cpu")[0]


@dataclass(frozen=True)
class Measured:
    """What was measured at a site.

    auc: how well scores tell rightly named findings from wrongly named ones. coverage: the share of
    labels that are consistent with their scores. supported: of the rightly named findings.
    """

    auc: float | None
    coverage: float
    supported: float
    drift: Drift


@cache
def draft_site(engine: Engine, site: str) -> tuple[list[Example], list[RequestOutput]]:
    """The first held-out studies of a site, and their drafts in the same order."""
    examples = list(islice(PhantomCorpus(site=SITES[site]).read(TEST), STUDIES))
    preprocessing = engine.runner.model.preprocessing
    cases = [replace(e.case(preprocessing), key=str(n)) for n, e in enumerate(examples)]
    prompted = ((case, build_instruction(case, "context", engine.fits)) for case in cases)
    outputs = {o.key: o for o in engine.write(prompted) if isinstance(o, RequestOutput)}
    return examples, [outputs[str(n)] for n in range(len(cases))]


def measure(engine: Engine, site: str, *, swapped: bool = False) -> Measured:
    examples, drafts = draft_site(engine, site)
    scores = [draft.finding_scores for draft in drafts]
    if swapped:  # the scores of the neighbour's images for this study's draft
        scores = scores[1:] + scores[:1]
    truth = LABELLER.label([example.target for example in examples])
    named, right, verdicts, covered, undecided = [], [], [], [], []
    for draft, score, labels in zip(drafts, scores, truth, strict=True):
        support = assess(draft.text, score, CALIBRATION, LABELLER)
        undecided.append(support.undecided_share or 0.0)
        for statement in {s.observation: s for s in support.statements}.values():
            assert statement.score is not None
            named.append(statement.score)
            right.append(labels[statement.observation] is Label.PRESENT)
            if right[-1]:
                verdicts.append(statement.verdict is Verdict.SUPPORTED)
        for name, thresholds in CALIBRATION.thresholds.items():
            if labels[name] is Label.PRESENT:
                covered.append(score[name] >= thresholds.present)
            else:
                covered.append(score[name] <= thresholds.absent)
    return Measured(
        roc_auc(named, right),
        sum(covered) / len(covered),
        sum(verdicts) / len(verdicts),
        measure_drift(undecided, CALIBRATION),
    )


def test_at_home_it_covers_what_it_promises(engine: Engine) -> None:
    home = measure(engine, "usual")
    assert home.coverage == pytest.approx(0.9, abs=0.03)
    assert home.auc is not None
    assert home.auc >= 0.85
    assert home.supported >= 0.85
    assert not home.drift.is_significant


def test_orders_and_prior_reports_are_no_drift(engine: Engine) -> None:
    ward = measure(engine, "ward")
    assert ward.auc is not None
    assert ward.auc >= 0.85
    assert not ward.drift.is_significant


def test_darker_images_are_drift_and_scores_still_rank(engine: Engine) -> None:
    elsewhere = measure(engine, "elsewhere")
    assert elsewhere.auc is not None
    assert elsewhere.auc >= 0.85
    assert elsewhere.drift.is_significant


def test_support_is_lost_with_the_images_of_another_study(engine: Engine) -> None:
    swapped = measure(engine, "usual", swapped=True)
    assert swapped.supported <= 0.35
