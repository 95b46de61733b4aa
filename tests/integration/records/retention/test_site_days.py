"""Sites that keep things for other days than the settings say."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, text

from records.actors import Actor, acting_as
from records.audit.rows import AuditEntry
from records.blobs import Blobs
from records.database.session import engine, unit_of_work
from records.database.tables import Study
from records.errors import NotAllowed, NotFound
from records.retention import prepared, removal
from records.retention.site_days import list_site_periods, read_site_days, set_site_days
from records.states import ActorKind, SiteRule
from records.workflow import sites
from tests.support.retention import draft_studies, has_files, older, prepared_files, sign
from tests.support.two_sites import show_drafts


@pytest.fixture(autouse=True)
def blobs(database: str, data_dir: Path, setting: Callable[..., None]) -> Blobs:
    setting(bundle="null", quiet_seconds=0, disk_stop_mb=0)
    with unit_of_work() as session:
        sites.create(session, "north")
        sites.create(session, "south")
    show_drafts()
    return Blobs(data_dir)


def run(blobs: Blobs) -> None:
    while removal.take_step(blobs, begin=True):
        pass
    while prepared.take_step(blobs):
        pass
    while prepared.take_stray_step(blobs, begin=True):
        pass


def move(study_id: uuid.UUID, code: str) -> None:
    with unit_of_work() as session:
        session.get_one(Study, study_id).site_id = sites.get(session, code).id


def keep(code: str, rule: SiteRule, days: float | None) -> None:
    with unit_of_work() as session:
        set_site_days(session, code, rule, days)


def test_a_site_of_its_own_days_and_the_others_by_the_setting(blobs: Blobs) -> None:
    north, south, default = draft_studies(1, 2, 3)
    move(north, "north")
    move(south, "south")
    for study in (north, south, default):
        sign(study)
    keep("north", SiteRule.SIGNED, 5)
    keep("south", SiteRule.SIGNED, 0)
    keep("south", SiteRule.DRAFTED, 0)
    older(6)
    run(blobs)
    assert [has_files(study) for study in (north, south, default)] == [False, True, True]
    older(25)  # 31 days
    run(blobs)
    assert [has_files(study) for study in (north, south, default)] == [False, True, False]
    older(1000)
    run(blobs)
    assert has_files(south)
    keep("south", SiteRule.SIGNED, None)
    run(blobs)
    assert not has_files(south)


def test_a_site_with_longer_days_is_not_removed_by_the_days_of_others(blobs: Blobs) -> None:
    north, default = draft_studies(1, 2)
    move(north, "north")
    keep("north", SiteRule.DRAFTED, 365)
    older(91)
    run(blobs)
    assert (has_files(north), has_files(default)) == (True, False)
    older(275)
    run(blobs)
    assert not has_files(north)


def digest_of(study_id: uuid.UUID) -> str:
    with unit_of_work() as session:
        return str(
            session.scalar(
                text("SELECT inputs_digest FROM drafts WHERE study_id = :id"), {"id": study_id}
            )
        )


def has_prepared(study_id: uuid.UUID) -> bool:
    return digest_of(study_id) in {path.stem for path in prepared_files()}


def test_prepared_inputs_go_by_the_days_of_their_site(blobs: Blobs, monkeypatch) -> None:
    monkeypatch.setattr(prepared, "DRAFTS_AT_ONCE", 1)
    early = draft_studies(1, 2, 3, 4)
    for study, code in zip(early, ("north", "south", "north", "default"), strict=True):
        move(study, code)
    keep("north", SiteRule.PREPARED, 2)
    keep("south", SiteRule.PREPARED, 20)
    older(3)
    run(blobs)
    assert [has_prepared(study) for study in early] == [False, True, False, True]
    older(5)
    run(blobs)
    assert [has_prepared(study) for study in early] == [False, True, False, False]
    older(13)
    run(blobs)
    assert prepared_files() == []


def test_a_rule_that_comes_late_or_goes_leaves_nothing_behind(blobs: Blobs) -> None:
    (first,) = draft_studies(1)
    move(first, "north")
    older(8)
    run(blobs)
    assert prepared_files() == []
    (second,) = draft_studies(2)
    move(second, "north")
    keep("north", SiteRule.PREPARED, 2)
    older(3)
    run(blobs)
    assert prepared_files() == []
    (third,) = draft_studies(3)
    move(third, "north")
    keep("north", SiteRule.PREPARED, 0)
    older(300)
    run(blobs)
    assert has_prepared(third)  # not as a stray of a site that keeps them for 7 days either
    keep("north", SiteRule.PREPARED, None)
    run(blobs)
    assert prepared_files() == []


def test_a_dry_run_tells_of_one_site(blobs: Blobs) -> None:
    north, south, default = draft_studies(1, 2, 3)
    move(north, "north")
    move(south, "south")
    keep("north", SiteRule.DRAFTED, 10)
    keep("north", SiteRule.PREPARED, 0)
    older(91)
    with unit_of_work() as session:
        ids = {code: sites.get(session, code).id for code in ("north", "south")}
    told = removal.foresee(ids["north"])
    assert [(due.days, number) for due, number in told.due.items()] == [(10, 1)]
    assert told.files == 1
    assert prepared.foresee(blobs, ids["north"]).files == 0
    assert [(due.days, n) for due, n in removal.foresee(ids["south"]).due.items()] == [(90, 1)]
    assert prepared.foresee(blobs, ids["south"]).files == 1
    assert removal.foresee().files == 3
    assert prepared.foresee(blobs).files == 2
    assert all(has_files(study) for study in (north, south, default))


def test_every_change_is_in_the_trail_with_who_made_it(blobs: Blobs) -> None:
    with acting_as(Actor(ActorKind.COMMAND, "ada")):
        keep("north", SiteRule.SIGNED, 14)
        keep("north", SiteRule.SIGNED, 0)
        keep("north", SiteRule.SIGNED, None)
    with unit_of_work() as session:
        entries = session.scalars(
            select(AuditEntry).where(AuditEntry.action == "SETTING").order_by(AuditEntry.id)
        ).all()
    assert [entry.detail for entry in entries] == [
        "retention of site north, rule SIGNED: the setting -> 14 days",
        "retention of site north, rule SIGNED: 14 days -> for ever",
        "retention of site north, rule SIGNED: for ever -> the setting",
    ]
    assert {entry.actor_name for entry in entries} == {"ada"}


@pytest.mark.parametrize("days", [-1, 1e6, float("nan"), float("inf")])
def test_days_that_are_none_are_refused_and_change_nothing(days: float) -> None:
    keep("north", SiteRule.SIGNED, 14)
    with pytest.raises(NotAllowed, match="days are a number from 0"):
        keep("north", SiteRule.SIGNED, days)
    with pytest.raises(NotFound):
        keep("nowhere", SiteRule.SIGNED, 3)
    with unit_of_work() as session:
        (period,) = [one for one in list_site_periods(session, "north") if one.is_own]
    assert (period.rule, period.days) == (SiteRule.SIGNED, 14)


def test_the_parts_role_may_write_rules(parts_database: str) -> None:
    with unit_of_work() as session:
        sites.create(session, "east")
        set_site_days(session, "east", SiteRule.SIGNED, 3)
        assert read_site_days(session).own
    with engine().connect() as connection, pytest.raises(Exception, match="permission denied"):
        connection.execute(text("TRUNCATE site_retention"))
