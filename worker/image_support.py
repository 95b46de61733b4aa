"""What the image model says of a draft, and whether a sender's films are like those it knows."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from model.case import DraftText
from model.labels import RuleLabeller
from model.manifest import Manifest
from model.support.calibration import ERROR_RATE, Calibration, calibrate
from model.support.drift import Drift, measure_drift
from model.support.predicted import PREDICTED
from model.support.statements import assess, presence_of
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.operations import alarms
from records.telemetry import logger
from records.workflow import calibrations

LEAST_SIGNED = 100
"""Signed reports that thresholds need: with fewer hardly any finding occurs nine times."""
DRIFT_WINDOW = 200
"""Newest drafts of one sender in which drift is looked for."""
DRIFT_DRAFTS = 2_000
"""Newest drafts that are read to find those of each sender."""
DRIFT_SECONDS = 60.0
"""Time between two looks of one process."""
ALARM_PREFIX = "images of "
"""Begins the part of a drift alarm; the calling AE title follows. It stops no stage."""

_last_look = 0.0


class SupportAssessor:
    """Compares drafts of one bundle with its finding head, for one task.

    The thresholds are those that the site made from its signed reports, else the bundle's own. The
    template `predicted` is filled by the same ones.
    """

    def __init__(self, manifest: Manifest) -> None:
        """Read the calibration in use.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """
        self._manifest = manifest
        self._labeller = RuleLabeller()
        self.calibration = read_calibration(manifest) if manifest.finding_head else None

    def assess(self, draft: DraftText) -> dict[str, Any] | None:
        """What the image model says of a draft, as JSON; None where there are no scores."""
        if self.calibration is None or not draft.finding_scores:
            return None
        return assess(draft.text, draft.finding_scores, self.calibration, self._labeller).as_json()

    def check_drift(self) -> None:
        """Open an alarm for each sender whose films have become unlike, and close what is over.

        It looks at most once in DRIFT_SECONDS.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """
        global _last_look
        if self.calibration is None or time.monotonic() - _last_look < DRIFT_SECONDS:
            return
        _last_look = time.monotonic()
        look_for_drift(self._manifest.digest, self.calibration)


def read_calibration(manifest: Manifest) -> Calibration:
    """The calibration in use for a bundle with a finding head."""
    with unit_of_work() as session:
        content = calibrations.read_newest(session, manifest.digest)
    return Calibration.from_json(content or manifest.finding_head["calibration"])


@dataclass(frozen=True, slots=True)
class SiteCalibration:
    """Thresholds made from signed reports, beside those in use before."""

    made: Calibration
    before: Calibration
    reports: int


def calibrate_on_signed(
    manifest: Manifest, made_by: str, *, error_rate: float = ERROR_RATE, dry_run: bool = False
) -> SiteCalibration:
    """Make thresholds from the signed reports of this bundle's drafts, and take them into use.

    Args:
        manifest: The bundle.
        made_by: Who asks for it.
        error_rate: The share of errors that the thresholds allow.
        dry_run: Only say what they would be.

    Raises:
        NotAllowed: The bundle has no finding head; fewer than LEAST_SIGNED reports are signed; or
            the thresholds fill its prompts, and it learnt with those of another error rate.
    """
    if not manifest.finding_head:
        raise NotAllowed(
            f"the bundle {manifest.name} {manifest.version} has no finding head to calibrate"
        )
    own = Calibration.from_json(manifest.finding_head["calibration"])
    if manifest.template == PREDICTED and error_rate != own.error_rate:
        raise NotAllowed(
            f"the bundle {manifest.name} {manifest.version} finds the symptoms of its prompts by "
            f"these thresholds and learnt with an error rate of {own.error_rate:g}: give "
            f"--error-rate {own.error_rate:g}"
        )
    before = read_calibration(manifest)
    labeller = RuleLabeller()
    with unit_of_work() as session:
        signed = list(calibrations.iterate_signed(session, manifest.digest))
        if len(signed) < LEAST_SIGNED:
            raise NotAllowed(
                f"{len(signed)} reports were signed from drafts of {manifest.name} "
                f"{manifest.version}; thresholds need {LEAST_SIGNED}"
            )
        made = calibrate(
            [each.finding_scores for each in signed],
            [presence_of(labels) for labels in labeller.label([each.text for each in signed])],
            labeller=labeller.name,
            error_rate=error_rate,
        )
        if not dry_run:
            calibrations.save(session, manifest.digest, made.as_json(), made_by)
    return SiteCalibration(made, before, len(signed))


def look_for_drift(bundle_digest: str, calibration: Calibration) -> dict[str, Drift]:
    """Compare each sender's newest drafts with the calibration; open and close alarms.

    Returns:
        The drift by calling AE title.
    """
    with unit_of_work() as session:
        by_sender: dict[str, list[float]] = defaultdict(list)
        for sender, share in calibrations.recent_undecided_shares(
            session, bundle_digest, DRIFT_DRAFTS
        ):
            if len(by_sender[sender]) < DRIFT_WINDOW:
                by_sender[sender].append(share)
        drifts = {sender: measure_drift(s, calibration) for sender, s in by_sender.items()}
        already = {alarm.part for alarm in alarms.open_alarms(session)}
        for sender, drift in drifts.items():
            part = f"{ALARM_PREFIX}{sender}"
            if drift.is_significant and part not in already:
                alarms.raise_alarm(session, AlarmKind.FILMS_UNLIKE, part, _cause(sender, drift))
                logger().warning("films are unlike the calibration's", count=drift.studies)
            elif not drift.is_significant and part in already:
                alarms.close_alarms(session, part)
    return drifts


def _cause(sender: str, drift: Drift) -> str:
    return (
        f"Films from {sender} look unlike those that the model was calibrated on: of its last "
        f"{drift.studies} drafts, {drift.mean:.0%} of the findings are undecided, where "
        f"{drift.expected:.0%} are expected. What the drafts' pages say about support may not hold "
        "for them."
    )
