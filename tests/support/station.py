"""A whole station in a process of its own, as a user starts it, and what its records hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from sqlalchemy import Engine, text

from records.database.session import make_engine
from records.states import ENDED
from tests.support.waiting import eventually

FAST_SETTINGS = {
    "LISTEN_PORT": "0",
    "SERVE_PORT": "0",
    "QUIET_SECONDS": "1",
    "SWEEP_SECONDS": "0.5",
    "LEASE_SECONDS": "4",
    "RETRY_SECONDS": "0",
    "PREPARE_PROCESSES": "1",
    "LOG_FORMAT": "json",
}
"""Settings of a station that waits as little as possible."""


@dataclass
class Station:
    """A running station."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    addresses: dict[str, Any]
    engine: Engine

    @property
    def port(self) -> int:
        return int(self.addresses["listen_port"])

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.addresses['serve_port']}"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside the station, as a person does."""
        return subprocess.run(
            [sys.executable, "-m", "nightdraft", *arguments],
            env=_environment(self.data_dir),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def counts(self) -> dict[str, int]:
        """Studies by visible state, without the states that have none."""
        from sqlalchemy.orm import Session

        from records.workflow import worklist

        with Session(self.engine) as session:
            return {state.value: n for state, n in worklist.count_by_state(session).items() if n}

    def rows(self) -> dict[str, tuple[str, str]]:
        """Visible state and reason by Study Instance UID."""
        from sqlalchemy.orm import Session

        from records.workflow import worklist

        with Session(self.engine) as session:
            return {
                row.study_instance_uid: (row.state.value, row.reason or ",".join(row.hold_reasons))
                for row in worklist.read_page(session, limit=1000).rows
            }

    def all_ended(self, studies: int) -> bool:
        """Whether at least this many studies exist, and each has ended or is held."""
        ends = {state.value for state in ENDED} | {"HELD"}
        counts = self.counts()
        return sum(counts.values()) >= studies and set(counts) <= ends

    def query(self, sql: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(sql)).all())

    def broker(self) -> redis.Redis:
        """A client of the station's Valkey that may do everything, unlike its parts."""
        return redis.Redis.from_url(owner_redis_url(self.data_dir))

    def logs(self) -> str:
        """The log of the station, of its parts and of its servers."""
        files = [*self.data_dir.rglob("*.log"), *self.data_dir.glob("*.out")]
        return "".join(path.read_text(errors="replace") for path in files)

    def parts(self) -> dict[str, int]:
        """Process ids of the running parts, by name."""
        rows = self.query(
            "SELECT DISTINCT ON (part) part, owner FROM heartbeats WHERE ended_at IS NULL"
            " ORDER BY part, started_at DESC"
        )
        return {part: int(owner.rpartition(":")[2]) for part, owner in rows}


def owner_redis_url(data_dir: Path) -> str:
    """The address of a station's Valkey for the user who may do everything."""
    lines = (data_dir / "run/valkey.conf").read_text().splitlines()
    (password,) = [line.split()[1] for line in lines if line.startswith("requirepass ")]
    (path,) = [line.split('"')[1] for line in lines if line.startswith("unixsocket ")]
    return f"unix://:{password}@{quote(path)}"


def _environment(data_dir: Path) -> dict[str, str]:
    """Variables of a command on a data folder, where the key of its trail lies, too."""
    env = {name: v for name, v in os.environ.items() if name != "NIGHTDRAFT_TRAIL_KEY_FILE"}
    return env | {"NIGHTDRAFT_DATA_DIR": str(data_dir)}


@contextmanager
def running_station(
    data_dir: Path,
    prefix: Sequence[str] = (),
    *,
    all_parts: bool = True,
    start_seconds: float = 180,
    **settings: str,
) -> Iterator[Station]:
    """Start a station, wait until every part runs, and end it as Ctrl-C does.

    Args:
        data_dir: The data folder.
        prefix: Words before the command, of a program that becomes it.
        all_parts: False where a part cannot start; it is waited until the others are started.
        start_seconds: How long its start may take.
        settings: Settings by name, in capitals.
    """
    env = _environment(data_dir)
    env |= {f"NIGHTDRAFT_{k}": v for k, v in (FAST_SETTINGS | settings).items()}
    command = [sys.executable, "-m", "nightdraft", "station"]
    with (data_dir / f"station-{uuid.uuid4().hex[:6]}.out").open("wb") as output:
        process = subprocess.Popen(
            [*prefix, *command, "--logs", str(data_dir / "logs")],
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    file = data_dir / "run/addresses.json"

    def ready() -> dict[str, Any] | None:
        assert process.poll() is None, Path(output.name).read_text()
        content = json.loads(file.read_text()) if file.exists() else {}
        return content if content and (content.get("ready") or not all_parts) else None

    engine = None
    try:
        addresses = eventually(ready, start_seconds)
        assert addresses is not None
        owner = addresses.get("migration_database_url") or addresses["database_url"]
        url = owner.replace("postgresql://", "postgresql+psycopg2://")
        engine = make_engine(url)
        yield Station(process, data_dir, addresses, engine)
    finally:
        if engine is not None:
            engine.dispose()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            process.wait()
