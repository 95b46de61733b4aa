"""The shared fixtures give what their names say."""

from __future__ import annotations

from pathlib import Path

import redis
from sqlalchemy import func, select

import migrations
from records.database.session import database_time, engine, unit_of_work
from records.database.tables import Study
from records.settings import settings
from tests.support.waiting import eventually


def test_database_is_fresh_and_migrated(database: str) -> None:
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Study)) == 0
        assert database_time(session).tzinfo is not None


def test_an_empty_database_can_be_migrated(empty_database: str) -> None:
    migrations.upgrade(engine())
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Study)) == 0


def test_broker_is_empty_and_refuses_to_evict(broker: str) -> None:
    with redis.Redis.from_url(settings().address("redis_url")) as connection:
        assert connection.dbsize() == 0
        assert connection.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert connection.config_get("appendonly")["appendonly"] == "yes"


def test_data_folder_is_the_settings_one(data_dir: Path) -> None:
    assert settings().data_dir == data_dir
    assert (data_dir / "blobs").stat().st_mode & 0o077 == 0


def test_eventually_gives_the_answer() -> None:
    answers = iter([0, 0, 7])
    assert eventually(lambda: next(answers)) == 7
