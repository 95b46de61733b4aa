"""Studies whose files retention may remove: stored, drafted, signed, and made older."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import text

from records.blobs import Blobs
from records.database.session import engine, unit_of_work
from records.database.tables import Instance
from records.reviews import signing
from records.settings import settings
from records.states import Stage
from records.workflow import drafts, studies
from tests.support.registered_studies import claim, new_draft
from tests.support.stored_studies import close_studies, store_studies


def older(days: float) -> None:
    """Make all that is there so many days older, as if the time had passed."""
    columns = {
        "instances": ("received_at", "bytes_restored_at", "bytes_removed_at"),
        "studies": ("first_received_at", "last_received_at", "completed_at"),
        "draft_requests": ("created_at", "changed_at"),
        "drafts": ("created_at",),
        "reviews": ("decided_at",),
        "retention_walks": ("began_at", "ended_at"),
        "refusals": ("at", "hour"),
    }
    with engine().begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for table, names in columns.items():
            sets = ", ".join(f"{name} = {name} - :days" for name in names)
            connection.execute(
                text(f"UPDATE {table} SET {sets}"),  # our own names
                {"days": dt.timedelta(days=days)},
            )
        for rule, position in connection.execute(
            text("SELECT rule, position FROM retention_walks WHERE position IS NOT NULL")
        ).all():
            connection.execute(
                text("UPDATE retention_walks SET position = :position WHERE rule = :rule"),
                {"rule": rule, "position": json.dumps(_older_place(position, days))},
            )


def _older_place(place: dict[str, Any], days: float) -> dict[str, Any]:
    """Where a walk has come, with its times so many days earlier."""
    return {
        name: _older_place(value, days) if isinstance(value, dict)
        else (dt.datetime.fromisoformat(value) - dt.timedelta(days=days)).isoformat()
        if name.endswith("_at") else value
        for name, value in place.items()
    }  # fmt: skip


def draft_studies(*seeds: int) -> list[uuid.UUID]:
    """Studies with files that are drafted, each with the file of its prepared input."""
    ids = store_studies(*seeds)
    close_studies()
    draft_open()
    return ids


def draft_open() -> None:
    """Draft every request that can be drafted; each leaves the file of a prepared input."""
    from records.workflow import requests

    blobs = Blobs(settings().data_dir)
    for lease in claim(Stage.PREPARE, limit=1000):
        digest = uuid.uuid4().hex * 2
        key = blobs.write_prepared(digest, b"x" * 100)
        with unit_of_work() as session:
            prepared = requests.PreparedInput(key, digest, "pp", {})
            assert requests.mark_prepared(session, lease, prepared)
    for lease in claim(Stage.DRAFT, limit=1000):
        with unit_of_work() as session:
            drafts.save(session, lease, new_draft(lease))


def sign(study_id: uuid.UUID) -> None:
    """Let a reader sign the report of a study's current draft."""
    with unit_of_work() as session:
        (draft,) = [
            one for one in drafts.list_by_study(session, study_id) if one.superseded_at is None
        ]
        signing.sign(session, draft.id, "dr.reader", "Clear lungs.", "Normal.")


def instances_of(study_id: uuid.UUID) -> list[Instance]:
    with unit_of_work() as session:
        return list(studies.list_instances(session, study_id))


def files_of(study_id: uuid.UUID) -> list[Path]:
    """The files of a study's films that are on disk."""
    blobs = Blobs(settings().data_dir)
    paths = [blobs.path(row.blob) for row in instances_of(study_id)]
    return [path for path in paths if path.exists()]


def has_files(study_id: uuid.UUID) -> bool:
    return bool(files_of(study_id))


def prepared_files() -> list[Path]:
    return sorted((settings().data_dir / "blobs/prepared").glob("*/*.npz"))
