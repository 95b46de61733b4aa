"""What a listener has left behind: rows, files, its heartbeat; for tests that look at them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from sqlalchemy import select

from records.blobs import Blobs
from records.database.session import unit_of_work
from records.database.tables import Instance, Refusal, Study
from records.operations import heartbeats
from records.workflow import studies


def rows(table=Instance):
    order = Instance.received_at if table is Instance else table.id
    with unit_of_work() as session:
        return session.scalars(select(table).order_by(order)).all()


def refused() -> list[tuple[str, str]]:
    return [(row.reason, row.sop_instance_uid) for row in rows(Refusal)]


def study(uid="1.2.3") -> Study:
    with unit_of_work() as session:
        return studies.get_by_uid(session, uid)


def incoming(data_dir: Path) -> list[Path]:
    return list(Blobs(data_dir).incoming.iterdir())


def kept_files(data_dir: Path) -> list[Path]:
    return list((data_dir / "blobs/instances").glob("*/*/*.dcm"))


def heartbeat():
    with unit_of_work() as session:
        found = [beat for beat in heartbeats.running_parts(session) if beat.part == "listener"]
    return found[0] if found else None


def fill_up(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
