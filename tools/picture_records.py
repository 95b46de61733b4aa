"""Fills the demonstration with what a department has after some weeks, for the pictures.

The demonstration is minutes old when its pictures are taken. What comes from other systems is sent
to it by HL7. Nights, campaigns and the drafts of a second model cannot be waited for: they are
written through the functions of `records`, into the demonstration's own database.
"""

from __future__ import annotations

import datetime as dt
import math
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from pydicom.uid import generate_uid
from sqlalchemy import insert, select

import records.database.account_tables  # noqa: F401
from intake.hl7.mllp import END, make_frame
from model.consistency import find_differences
from nightdraft.station.station import read_addresses
from records.database.draft_tables import Draft, DraftRequest
from records.database.night_tables import NightSummary, WorkCount
from records.database.session import database_time, forget_engine, unit_of_work
from records.database.site_tables import Site
from records.database.tables import Study
from records.operations import refusals
from records.operations.nights import Night, NightHours
from records.report_styles import styles
from records.report_styles.content import Phrase, StyleContent, StyleSection, Wording
from records.secret_files import set_variable
from records.settings import settings
from records.states import (
    Purpose,
    Stage,
    WorkKind,
)
from records.workflow import draft_comparisons, drafts, leases, sites
from records.workflow.drafts import NewDraft
from records.workflow.requests import PreparedInput, mark_prepared

_LEASE_SECONDS = 60.0

NEWER_MODEL = ("phantoms", "5", "5e1c40a97b6d2f08" * 4)
"""Name, version and digest of a model that drafts beside the demonstration's own."""

STYLE = StyleContent(
    "Chest films of this house",
    (
        StyleSection("indication", "Clinical question"),
        StyleSection("impression", "Conclusion"),
        StyleSection("findings", "Description"),
    ),
    (
        Wording("The lungs are clear.", "Lungs clear."),
        Wording("The heart is normal in size.", "Heart of normal size."),
    ),
    (
        Phrase("Telephoned", "The ward was told of this finding by telephone."),
        Phrase("Portable", "The film was taken at the bedside, so the size of the heart is vague."),
    ),
)
"""The report style of the demonstration's site."""

_NIGHTLY = (402, 391, 376, 288, 264, 399, 410)
"""Drafts of a night, by the day of the week on which it begins."""
_NIGHTS = 28
_NIGHTS_WITH_WORK = 3


@dataclass(frozen=True, slots=True)
class FinalReport:
    """A final report of another system.

    Attributes:
        draft_says: what the impression of a draft says whose study is reported.
        findings, impression: the report's sections.
        correction: the impression of a corrected version that comes later; "" for none.
    """

    draft_says: str
    findings: str
    impression: str
    correction: str = ""


FINALS = (
    FinalReport(
        "Right pulmonary nodule.",
        "The heart is normal in size. The lungs are clear. There is no effusion.",
        "No acute disease.",
        "No acute disease. An earlier film is not here for comparison.",
    ),
    FinalReport(
        "Left pulmonary nodule.",
        "The heart is of normal size. No effusion and no pneumothorax.",
        "Normal chest.",
    ),
    FinalReport(
        "Left lower zone consolidation.",
        "The heart is normal. No consolidation. The bones are intact.",
        "Normal chest.",
    ),
    FinalReport(
        "No acute disease.",
        "The heart is normal in size. There is a small right pleural effusion.",
        "Small right pleural effusion.",
    ),
)
"""The reports of the department's own system: the first three do not name what the draft names."""


def read_records_of(data_dir: Path) -> None:
    """Make this process read the records of the station whose data folder this is."""
    set_variable("data_dir", str(data_dir))
    set_variable("database_url", str(read_addresses(data_dir)["database_url"]))
    settings.cache_clear()
    forget_engine()


def add_style() -> None:
    """Give the demonstration's site a report style."""
    with unit_of_work() as session:
        owner = styles.of_site(session, "default")
        styles.save(session, owner, STYLE, 0, "Demo Reader", find_differences)


def add_refusals() -> None:
    """Note what the listener refused: a slice of a CT, and a secondary capture, thrice."""
    with unit_of_work() as session:
        for caller, sop_class, number in (("CT1", "2", 1), ("SCANNER", "7", 3)):
            for _ in range(number):
                refusals.record_refusal(
                    session,
                    calling_ae=caller,
                    sop_class_uid=f"1.2.840.10008.5.1.4.1.1.{sop_class}",
                    sop_instance_uid=str(generate_uid(prefix=None)),
                    reason="other_object",
                    sentence="Only projection radiographs are taken here.",
                )


def add_site() -> None:
    """Add a second site. From then on nobody sees all sites who does not have both."""
    with unit_of_work() as session:
        sites.create(session, "children", "Children's hospital")


def add_nights() -> None:
    """Write the summaries of four weeks of nights, and the work of the last of them by the hour."""
    with unit_of_work() as session:
        site = session.scalars(select(Site.id).order_by(Site.code)).first()
        assert site is not None
        hours = NightHours.parse("19:00-07:00", ZoneInfo(_zone_name()))
        night = hours.ended_before(database_time(session))
        for number in range(_NIGHTS):
            drafted = max(0, _NIGHTLY[night.date.weekday()] - 2 * number)
            session.add(_summary(night, number, drafted))
            if number < _NIGHTS_WITH_WORK:
                session.execute(insert(WorkCount), list(_work(night, drafted, site)))
            night = hours.ended_before(night.begins_at)


def _zone_name() -> str:
    """The zone of this machine's clock, as the pages show times; UTC where it has no name."""
    return settings().time_zone or "UTC"


def _summary(night: Night, number: int, drafted: int) -> NightSummary:
    failed = number % 5
    skipped = {"not_chest": 24 + number % 7, "too_young": 9, "needed_view_missing": number % 4}
    return NightSummary(
        night=night.date,
        begins_at=night.begins_at,
        ends_at=night.ends_at,
        time_zone=_zone_name(),
        made_at=night.ends_at,
        prepared=drafted + failed,
        drafted=drafted,
        skipped={reason: count for reason, count in skipped.items() if count},
        failed={"UNREADABLE": failed} if failed else {},
        held={"PATIENT_MISMATCH": 1, "AGE_UNKNOWN": 2 + number % 2},
        missing={"OFFLINE": 3} if number % 4 == 1 else {},
        waiting=12 + 3 * (number % 6),
        in_campaigns=640 + 290 * number,
        workers={"draft@gpu-1": drafted, "prepare@cpu-1": drafted + failed},
    )


def _work(night: Night, drafted: int, site: uuid.UUID) -> list[dict[str, object]]:
    """The work of a night: most of it comes before midnight, and some all night."""
    quarters = round((night.ends_at - night.begins_at) / dt.timedelta(minutes=15))
    weights = [
        0.35 + math.exp(-(((at - quarters / 4) / (quarters / 5)) ** 2)) for at in range(quarters)
    ]
    rows: list[dict[str, object]] = []
    done = 0
    for at in range(quarters):
        upto = round(drafted * sum(weights[: at + 1]) / sum(weights))
        numbers = {
            (WorkKind.DRAFTED, "", "draft@gpu-1"): upto - done,
            (WorkKind.SKIPPED, "not_chest", "prepare@cpu-1"): int(at % 2 == 0),
            (WorkKind.FAILED, "UNREADABLE", "prepare@cpu-1"): int(at in {17, 30}),
        }
        done = upto
        rows += [
            {
                "quarter": night.begins_at + at * dt.timedelta(minutes=15),
                "kind": kind,
                "reason": reason,
                "worker": worker,
                "site_id": site,
                "number": number,
            }
            for (kind, reason, worker), number in numbers.items()
            if number
        ]
    return rows


def send_finals(port: int) -> None:
    """Send final reports of studies that are drafted, as a RIS would, and one it cannot take.

    Args:
        port: where the demonstration listens for HL7.
    """
    number = 0
    taken: set[str] = set()
    for final in FINALS:
        with unit_of_work() as session:
            study = session.scalars(
                select(Study)
                .join(Draft, Draft.study_id == Study.id)
                .where(
                    Draft.impression == final.draft_says,
                    Draft.superseded_at.is_(None),
                    Draft.revision == 1,
                    Study.accession_number.not_in(taken),
                )
                .order_by(Study.accession_number.desc())
                .limit(1)
            ).one()
            taken.add(study.accession_number)
            impressions = [("F", final.impression), ("C", final.correction)]
            messages = [
                _report(study, number + at, status, final.findings, impression)
                for at, (status, impression) in enumerate(impressions)
                if impression
            ]
        for message in messages:
            number += 1
            _send(port, message)
    _send(port, _message("ORM^O01", number + 1, "PID|1||4711||PHANTOM^Zoë", "ORC|NW"))


def _report(study: Study, number: int, status: str, findings: str, impression: str) -> bytes:
    person = (
        f"PID|1||{study.patient_id}||{study.patient_name}||{study.patient_birth_date}"
        f"|{study.patient_sex}"
    )
    accession = study.accession_number
    return _message(
        "ORU^R01",
        number,
        person,
        f"OBR|1||R{accession}|CXR^{study.study_description}|||{study.study_date}"
        f"|||||||||||{accession}||||||DX|{status}|||||||1&Roe&Jane",
        f"OBX|1|TX|18782-3^Findings^LN||{findings}||||||{status}",
        f"OBX|2|TX|19005-8^Impression^LN||{impression}||||||{status}",
    )


def _message(kind: str, number: int, *segments: str) -> bytes:
    now = dt.datetime.now().astimezone().strftime("%Y%m%d%H%M%S%z")
    header = (
        rf"MSH|^~\&|RIS|RADIOLOGY|NIGHTDRAFT|DEMO|{now}||{kind}|RIS{number:05d}|P|2.5.1"
        "||||||UNICODE UTF-8"
    )
    return "".join(f"{segment}\r" for segment in (header, *segments)).encode()


def _send(port: int, message: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(make_frame(message))
        answer = b""
        while END not in answer:
            received = connection.recv(4096)
            assert received, "the HL7 listener has closed the connection"
            answer += received


_OTHER_WORDS = {
    "Cardiomegaly.": (
        "The heart is normal in size. The lungs are clear. No effusion.",
        "No acute disease.",
    ),
    "No acute disease.": (
        "The heart is normal in size. There is blunting of the left costophrenic angle.",
        "Small left pleural effusion.",
    ),
    "Left pneumothorax.": (
        "The heart is normal in size. There is a small left pneumothorax. No effusion is seen.",
        "Small left pneumothorax.",
    ),
}
"""What the newer model writes, by the impression of the first draft."""


def add_second_drafts() -> None:
    """Let a newer model draft some studies beside the demonstration's own one."""
    with unit_of_work() as session:
        chosen = session.scalars(
            select(Draft)
            .where(Draft.impression.in_(_OTHER_WORDS), Draft.superseded_at.is_(None))
            .order_by(Draft.id)
        ).all()
        for draft in chosen:
            session.expunge(draft)
    for draft in chosen:
        _draft_again(draft)


def _draft_again(first: Draft) -> None:
    name, version, digest = NEWER_MODEL
    with unit_of_work() as session:
        request = DraftRequest(
            study_id=first.study_id,
            revision=first.revision,
            bundle=digest,
            purpose=Purpose.COMPARISON,
            priority=3,
        )
        session.add(request)
        session.flush()
        for lease in leases.claim(session, Stage.PREPARE, "pictures", 1, _LEASE_SECONDS, digest):
            mark_prepared(
                session, lease, PreparedInput("prepared/none", first.inputs_digest, "pictures", {})
            )
    findings, impression = _OTHER_WORDS[first.impression]
    with unit_of_work() as session:
        (lease,) = leases.claim(session, Stage.DRAFT, "pictures", 1, _LEASE_SECONDS, digest)
        kept = {column: getattr(first, column) for column in NewDraft.__dataclass_fields__}
        new = NewDraft(**kept | {
            "text": f"Findings: {findings}\nImpression: {impression}",
            "findings": findings,
            "impression": impression,
            "model_name": name,
            "model_version": version,
            "bundle_digest": digest,
            "sentences": None,
            "support": None,
            "finding_scores": None,
        })  # fmt: skip
        draft_id = drafts.save(session, lease, new)
        assert draft_id is not None, "the lease was lost"
        draft_comparisons.note(session, draft_id)
