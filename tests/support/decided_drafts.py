"""Drafts that readers have signed or rejected, through the functions that the pages call."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid

from sqlalchemy import text

from records.database.draft_tables import Draft
from records.database.quality_tables import DraftOutcome
from records.database.session import database_time, engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.quality import counts
from records.quality.groups import local_day
from records.reviews import readings, signing, working_texts
from records.reviews.readers import Reader
from records.states import RejectReason, Stage
from records.workflow.patients import Patient
from tests.support.accounts import let_pass, run_sql
from tests.support.registered_studies import claim, complete, new_instance, prepare, save
from worker.outcomes import complete_outcomes

_numbers = itertools.count(5000)

FINDINGS = "The lungs are clear."
IMPRESSION = "No pneumothorax."
EFFUSION = "There is a small left pleural effusion."


def reader_of(account):
    """The reader of an account that `make_account` made."""
    return Reader(account.name or account.login, account.id)


def draft(
    *,
    bundle="bundle-1",
    calling_ae="TEST",
    position="PA",
    description="CHEST",
    sex="F",
    born="19700101",
    findings=FINDINGS,
    impression=IMPRESSION,
):
    """A study with a draft; the draft's id."""
    number = next(_numbers)
    study = f"1.2.{number}"
    patient = Patient(f"Q-{number}", "", f"PHANTOM^Q{number}", born, sex)
    complete(
        new_instance(
            study,
            patient=patient,
            calling_ae=calling_ae,
            study_description=description,
            accession_number=f"Q{number}",
        )
    )
    (waiting,) = claim(limit=1)
    prepare(waiting)
    (prepared,) = claim(Stage.DRAFT, limit=1)
    return save(
        prepared,
        bundle_digest=bundle,
        findings=findings,
        impression=impression,
        text=f"{findings}\n{impression}",
        views=[
            {
                "sop_instance_uid": f"{study}.1.1",
                "position": "frontal",
                "why": f'ViewPosition "{position}" says frontal',
            }
        ],
    )


def open_study(draft_id, account):
    """Open the study as a reader: the reading begins."""
    with unit_of_work() as session:
        readings.begin(session, session.get_one(Draft, draft_id), account.id)


def sign(draft_id, account, findings=None, impression=None):
    """Write and sign a report as a reader; what is not given stays as drafted. The review's id."""
    reader = reader_of(account)
    with unit_of_work() as session:
        row = session.get_one(Draft, draft_id)
        now = working_texts.read(session, row, account.id)
        if findings is not None or impression is not None:
            now = working_texts.save(
                session,
                draft_id,
                now.version,
                now.findings if findings is None else findings,
                now.impression if impression is None else impression,
                reader,
            )
        return signing.sign_text(session, draft_id, now.version, now.sha256, reader)


def reject(draft_id, account, reason=RejectReason.FINDING_MISSED):
    """Reject a draft as a reader; the review's id."""
    with unit_of_work() as session:
        return signing.reject(session, draft_id, reader_of(account), "", reason)


def decide(account, how="unedited", **about):
    """A study, its draft, and what a reader made of it; the review's id.

    Args:
        account: the reader's.
        how: unedited, small (words that change no observation), differing, or rejected.
        about: as `draft`.
    """
    draft_id = draft(**about)
    open_study(draft_id, account)
    if how == "rejected":
        return reject(draft_id, account)
    findings = about.get("findings", FINDINGS)
    changed = {
        "unedited": None,
        "small": f"{findings}.",
        "differing": f"{findings} {EFFUSION}",
    }[how]
    return sign(draft_id, account, changed)


def count(above=0):
    """Complete all outcomes and add up the kept numbers."""
    while complete_outcomes():
        pass
    with unit_of_work() as session:
        counts.fold(session, above)


def move_to_day(day, review_ids=None):
    """Let outcomes be of another day: those of these reviews, or all."""
    with engine().begin() as connection:
        connection.execute(
            text(
                "UPDATE draft_outcomes SET day = :day"
                " WHERE CAST(:ids AS uuid[]) IS NULL OR review_id = ANY (CAST(:ids AS uuid[]))"
            ),
            {"day": day, "ids": review_ids},
        )


def add_days(days, site_id=DEFAULT_SITE_ID, bundle="bundle-1"):
    """Add kept days to the line of the drift: (day, how many drafts, how many of them differ)."""
    with engine().begin() as connection:
        for day, watched, differing in days:
            connection.execute(
                text(
                    "INSERT INTO quality_days (site_id, bundle_digest, day, watched, differing)"
                    " VALUES (:site, :bundle, :day, :watched, :differing)"
                ),
                {
                    "site": site_id,
                    "bundle": bundle,
                    "day": day,
                    "watched": watched,
                    "differing": differing,
                },
            )


def fill_quality(account):
    """Decided drafts of every kind and a line that drifts; our id of the last study."""
    kinds = ("unedited", "unedited", "small", "differing", "rejected", "unedited")
    groups = (
        {"position": "PA", "sex": "F"},
        {"position": "AP", "sex": "M", "born": "19391231", "description": "CHEST PORTABLE"},
        {"position": "AP", "sex": "", "born": "", "bundle": "bundle-2"},
    )
    for place in range(36):
        decide(account, kinds[place % len(kinds)], **groups[place % len(groups)])
    let_pass("readings", 80, "opened_at")
    review = decide(account)
    count()
    with unit_of_work() as session:
        today = local_day(database_time(session))
    rates = [2] * 40 + [8] * 7
    run_sql("DELETE FROM quality_days")
    add_days(
        (today - dt.timedelta(days=len(rates) - place), 10 + place % 3, rate)
        for place, rate in enumerate(rates)
    )
    return run_sql("SELECT study_id FROM reviews WHERE id = :id", id=review)[0][0]


def outcome_of(review_id: uuid.UUID):
    """The outcome of a review."""
    with unit_of_work() as session:
        return session.get_one(DraftOutcome, review_id)
