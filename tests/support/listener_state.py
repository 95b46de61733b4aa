"""Reads what a listener wrote: rows, files and its heartbeat."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from records.blobs import Blobs
from records.database.operation_tables import Refusal
from records.database.session import unit_of_work
from records.database.tables import Instance, Study
from records.operations import heartbeats
from records.workflow import studies


def read_rows(table=Instance):
    order = Instance.received_at if table is Instance else table.id
    with unit_of_work() as session:
        return session.scalars(select(table).order_by(order)).all()


def read_refusals() -> list[tuple[str, str]]:
    return [(row.reason, row.sop_instance_uid) for row in read_rows(Refusal)]


def read_study(uid="1.2.3") -> Study:
    with unit_of_work() as session:
        return studies.get_by_uid(session, uid)


def incoming_files(data_dir: Path) -> list[Path]:
    return list(Blobs(data_dir).incoming.iterdir())


def kept_files(data_dir: Path) -> list[Path]:
    return list((data_dir / "blobs/instances").glob("*/*/*.dcm"))


def read_heartbeat():
    with unit_of_work() as session:
        parts = heartbeats.running_parts(session)
    return next((beat for beat in parts if beat.part == "listener"), None)
