"""Image support on its way into a draft, its calibration on signed reports, and the drift alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from model.case import Case, DraftText, FailedCase
from model.manifest import NULL, Manifest
from model.reporter import NullReporter
from model.support.calibration import Calibration, Thresholds
from records.database.draft_tables import Draft
from records.database.session import unit_of_work
from records.errors import NightdraftError, NotAllowed
from records.operations import alarms
from records.reviews import signing
from records.states import Stage
from records.workflow import calibrations, drafts
from tests.support.stored_studies import close_studies, store_studies
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.image_support import LEAST_SIGNED, calibrate_on_signed, look_for_drift, read_calibration
from worker.preparing import prepare_ready

TEXT = "Findings: There is a left pneumothorax. Impression: Left pneumothorax."
OWN = Calibration(
    {"Pneumothorax": Thresholds(0.6, 0.4, 50, 50), "Edema": Thresholds(0.6, 0.4, 50, 50)},
    studies=100,
    labeller="rules",
    undecided_mean=0.1,
    undecided_spread=0.1,
)
BUNDLE = replace(NULL, finding_head={"calibration": OWN.as_json()})


class ScoringReporter(NullReporter):
    """The null reporter with a finding head, whose scores are given."""

    def __init__(self, *scores: dict[str, float]) -> None:
        super().__init__()
        self.scores = iter(scores)
        self.calibrations: list[Calibration] = []

    @property
    def manifest(self) -> Manifest:
        return BUNDLE

    def use_calibration(self, calibration: Calibration) -> None:
        self.calibrations.append(calibration)

    def draft(self, cases: Iterable[Case | None]) -> Iterator[DraftText | FailedCase]:
        for drafted in super().draft(cases):
            assert isinstance(drafted, DraftText)
            yield replace(drafted, text=TEXT, finding_scores=next(self.scores))


@pytest.fixture(autouse=True)
def _night(night: Callable[..., None]) -> None:
    night()


def draft_studies(*scores: dict[str, float]) -> list[Draft]:
    """Draft as many studies as there are scores, one after the other; returns their drafts."""
    ids = store_studies(*range(len(scores)))
    close_studies()
    assert prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE)) == len(scores)
    reporter = ScoringReporter(*scores)
    assert draft_ready(reporter, "d", 60, CircuitBreaker(Stage.DRAFT)) == len(scores)
    with unit_of_work() as session:
        return [draft for id_ in ids for draft in drafts.list_by_study(session, id_)]


def test_a_draft_keeps_scores_and_what_they_say() -> None:
    unsupported, unscored = draft_studies({"Pneumothorax": 0.1, "Edema": 0.9}, {})
    if unsupported.finding_scores is None:  # the order of drafting is not that of storing
        unsupported, unscored = unscored, unsupported
    assert unsupported.finding_scores == {"Pneumothorax": 0.1, "Edema": 0.9}
    assert unsupported.support is not None
    assert [s["verdict"] for s in unsupported.support["statements"]] == ["not supported"] * 2
    assert [o["observation"] for o in unsupported.support["omissions"]] == ["Edema"]
    assert unscored.finding_scores is None
    assert unscored.support is None


def test_the_calibration_of_the_site_is_taken_before_the_bundles() -> None:
    assert read_calibration(BUNDLE) == OWN
    site = replace(OWN, thresholds={"Pneumothorax": Thresholds(0.05, 0.01, 50, 50)})
    with unit_of_work() as session:
        calibrations.save(session, BUNDLE.digest, site.as_json(), "A. Person")
        calibrations.save(session, "another bundle", OWN.as_json(), "A. Person")
    assert read_calibration(BUNDLE) == site
    (draft,) = draft_studies({"Pneumothorax": 0.1})
    assert draft.support is not None
    assert draft.support["statements"][0]["verdict"] == "supported"


def test_each_round_drafts_with_the_calibration_that_is_in_use_then() -> None:
    """A new one reaches a worker that runs, and a reporter whose prompts it fills."""
    store_studies(0, 1)
    close_studies()
    assert prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE)) == 2
    reporter = ScoringReporter(*[{"Pneumothorax": 0.1}] * 2)
    breaker = CircuitBreaker(Stage.DRAFT)
    assert draft_ready(reporter, "d", 60, breaker) == 2
    site = replace(OWN, thresholds={"Pneumothorax": Thresholds(0.05, 0.01, 50, 50)})
    with unit_of_work() as session:
        calibrations.save(session, BUNDLE.digest, site.as_json(), "A. Person")
    assert draft_ready(reporter, "d", 60, breaker) == 0
    assert reporter.calibrations == [OWN, site]


def test_thresholds_that_fill_prompts_keep_the_error_rate_of_the_training() -> None:
    predicting = replace(BUNDLE, template="predicted")
    with pytest.raises(NotAllowed, match=r"error rate of 0\.1: give --error-rate 0\.1"):
        calibrate_on_signed(predicting, "A. Person", error_rate=0.2)
    with pytest.raises(NotAllowed, match="0 reports were signed"):
        calibrate_on_signed(predicting, "A. Person", error_rate=0.1)


def test_a_calibration_is_written_once() -> None:
    with unit_of_work() as session:
        calibrations.save(session, BUNDLE.digest, OWN.as_json(), "A. Person")
    with pytest.raises(NightdraftError, match="refused a change"), unit_of_work() as session:
        session.execute(text("UPDATE calibrations SET made_by = 'B. Person'"))


def sign(draft: Draft, findings: str) -> None:
    with unit_of_work() as session:
        signing.sign(session, draft.id, reader="R. Reader", findings=findings, impression="")


def test_signed_reports_set_the_thresholds() -> None:
    scores = [{"Pneumothorax": 0.02 * n} for n in range(12)]
    made = draft_studies(*scores)
    with pytest.raises(NotAllowed, match=rf"0 reports were signed .* need {LEAST_SIGNED}"):
        calibrate_on_signed(BUNDLE, "A. Person")
    with pytest.raises(NotAllowed, match="no finding head"):
        calibrate_on_signed(NULL, "A. Person")
    for draft in made:
        assert draft.finding_scores is not None
        has = draft.finding_scores["Pneumothorax"] > 0.1
        sign(draft, "Left pneumothorax." if has else "No pneumothorax.")
    with unit_of_work() as session:
        signed = list(calibrations.iterate_signed(session, BUNDLE.digest))
        assert not list(calibrations.iterate_signed(session, "another bundle"))
    assert sorted(each.finding_scores["Pneumothorax"] for each in signed) == pytest.approx(
        [score["Pneumothorax"] for score in scores]
    )
    assert {"No pneumothorax" in each.text for each in signed} == {True, False}


def test_calibrating_takes_the_thresholds_into_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.image_support.LEAST_SIGNED", 20)
    made = draft_studies(*({"Pneumothorax": 0.05 * n} for n in range(20)))
    for draft in made:
        assert draft.finding_scores is not None
        has = draft.finding_scores["Pneumothorax"] >= 0.5
        sign(draft, "Left pneumothorax." if has else "No pneumothorax.")
    tried = calibrate_on_signed(BUNDLE, "A. Person", dry_run=True)
    assert read_calibration(BUNDLE) == OWN
    taken = calibrate_on_signed(BUNDLE, "A. Person")
    assert taken == tried
    assert taken.reports == 20
    assert taken.before == OWN
    assert taken.made.thresholds == {
        "Pneumothorax": Thresholds(pytest.approx(0.5), pytest.approx(0.45), 10, 10)
    }
    assert read_calibration(BUNDLE) == taken.made


def test_a_sender_whose_films_are_unlike_raises_an_alarm_that_closes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("model.support.drift.LEAST_STUDIES", 5)
    draft_studies(*[{"Pneumothorax": 0.5, "Edema": 0.5}] * 6)

    def alarm_parts() -> list[str]:
        with unit_of_work() as session:
            return [alarm.part for alarm in alarms.open_alarms(session)]

    (drift,) = look_for_drift(BUNDLE.digest, OWN).values()
    assert drift.studies == 6
    assert drift.is_significant
    (part,) = alarm_parts()
    assert part.startswith("images of ")
    look_for_drift(BUNDLE.digest, OWN)
    assert alarm_parts() == [part]  # once
    look_for_drift(BUNDLE.digest, replace(OWN, undecided_mean=1.0))
    assert alarm_parts() == []
