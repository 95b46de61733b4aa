"""The application on a fresh database, called through Starlette's TestClient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.app import make_app
from records.settings import settings
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def seeder(database: str, data_dir: Path) -> StudySeeder:
    return StudySeeder(data_dir)


@pytest.fixture
def client(database: str, data_dir: Path) -> Iterator[TestClient]:
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        yield client
