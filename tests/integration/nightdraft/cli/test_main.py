"""Every error is one clear line and exit status 1, never a traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.manifest import MANIFEST, NULL, write_manifest
from tests.support.forked_commands import forked_commands
from tests.support.paths import ROOT

Nightdraft = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def nightdraft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nightdraft]:
    """Runs the command in a process of its own, as a person does."""
    imported = ("api.app", "intake.dicom.listener", "worker.tasks", "model.bundling.store")
    with forked_commands(tmp_path_factory.mktemp("outputs"), *imported) as run:
        yield run


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("nightdraft: ")
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "text"),
    [
        (["listen"], {"lease_seconds": "soon"}, "NIGHTDRAFT_LEASE_SECONDS"),
        (["serve"], {}, "NIGHTDRAFT_DATABASE_URL is not set"),
        (["station", "--bundle", ""], {}, "NIGHTDRAFT_BUNDLE is not set"),
    ],
)
def test_a_part_that_does_not_start_says_so_in_json_where_it_logs_json(
    nightdraft: Nightdraft,
    arguments: list[str],
    variables: dict[str, str],
    text: str,
    data_dir: Path,
) -> None:
    done = nightdraft(*arguments, log_format="json", **variables)
    assert (done.returncode, done.stdout) == (1, "")
    *_, line = [json.loads(line) for line in done.stderr.splitlines()]
    assert text in line["message"]
    assert line["level"] == "critical"


NOWHERE = "postgresql://somebody:secret@127.0.0.1:1/nightdraft"


@pytest.mark.parametrize(
    ("arguments", "variables", "text"),
    [
        (["status"], {"lease_seconds": "soon"}, "NIGHTDRAFT_LEASE_SECONDS"),
        (["station"], {"priority": "NOW"}, "NIGHTDRAFT_PRIORITY: 'NOW' is none of STAT"),
        (["status"], {}, "NIGHTDRAFT_DATABASE_URL is not set"),
        (["status"], {"database_url": "mysql://x"}, "must begin with postgresql://"),
        (["status"], {"database_url": NOWHERE}, "PostgreSQL does not answer"),
        (["migrate"], {"database_url": NOWHERE}, "PostgreSQL does not answer at 127.0.0.1:1"),
        (["serve"], {"database_url": NOWHERE}, "PostgreSQL does not answer"),
        (["listen"], {"database_url": NOWHERE}, "PostgreSQL does not answer"),
        (["work", "sweep"], {"database_url": NOWHERE}, "PostgreSQL does not answer"),
        (["station"], {}, "NIGHTDRAFT_BUNDLE=demo runs the demonstration model"),
        (["work", "draft"], {}, "knows drawn phantoms only"),
        (["work", "prepare"], {}, "NIGHTDRAFT_BUNDLE is not set"),
        (["bundle", "verify", "/no/such"], {}, "there is no bundle at /no/such"),
        (["station", "--bundle", "null"], {"disk_stop_mb": "999999999"}, "the whole disk"),
        (["send", "/no/such"], {}, "there is no folder /no/such"),
        (["retry", "--since", "lately"], {}, "no date or time"),
        (["decide", "1.2.3", "perhaps", "--by", "x"], {}, "say proceed or cancel"),
        (["decide", "1.2.3", "proceed"], {}, "--by NAME"),
        (["withdraw", "1.2.3", "--by", "x"], {}, "--by NAME --reason WHY"),
        (["reinstate", "1.2.3"], {}, "--by NAME"),
        (["doctor", "--part", "kitchen"], {}, "is no part"),
    ],
)
def test_an_error_is_one_line(
    nightdraft: Nightdraft,
    arguments: list[str],
    variables: dict[str, str],
    text: str,
    data_dir: Path,
) -> None:
    line = one_line(nightdraft(*arguments, **variables))
    assert text in line
    assert "secret" not in line


@pytest.mark.parametrize("command", [["study"], ["release"], ["retry"]])
def test_a_wrong_uid(nightdraft: Nightdraft, command: list[str], database: str) -> None:
    assert "no study has that UID" in one_line(nightdraft(*command, "1.2.3"))


def test_no_redis(nightdraft: Nightdraft, database: str, data_dir: Path) -> None:
    done = nightdraft("station", bundle="null", redis_url="redis://127.0.0.1:1/0")
    assert "Redis does not answer at 127.0.0.1:1" in one_line(done)
    # As root a line of the log says which user the part becomes.
    done = nightdraft("work", "sweep", redis_url="redis://127.0.0.1:1/0", log_level="error")
    assert "Redis does not answer" in one_line(done)


def test_a_damaged_bundle(nightdraft: Nightdraft, tmp_path: Path, data_dir: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "weights").write_bytes(b"as trained")
    write_manifest(bundle, NULL)
    assert nightdraft("bundle", "show", str(bundle)).returncode == 0
    assert "holds no network" in one_line(nightdraft("bundle", "verify", str(bundle)))
    (bundle / "weights").write_bytes(b"as damaged")
    assert "SHA-256 differs" in one_line(nightdraft("bundle", "verify", str(bundle)))
    (bundle / MANIFEST).write_text("{")
    assert "not readable JSON" in one_line(nightdraft("bundle", "verify", str(bundle)))


@pytest.mark.parametrize("server", ["listen", "serve"])
def test_a_port_in_use(nightdraft: Nightdraft, server: str, data_dir: Path, free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        done = nightdraft("station", f"--{server}-port", str(free_port), bundle="null")
    line = one_line(done)
    assert f"port {free_port} on 127.0.0.1 is in use" in line
    assert f"NIGHTDRAFT_{server.upper()}_PORT" in line


def test_a_sender_without_an_answer_is_an_error(
    nightdraft: Nightdraft, samples: Path, free_port: int
) -> None:
    done = nightdraft("send", str(samples / "dicom/chest"), "--port", str(free_port))
    assert f"nobody answers at 127.0.0.1 port {free_port}" in one_line(done)


def test_an_unforeseen_error_is_one_line_without_its_text(tmp_path: Path, database: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import records.workflow.worklist\n"
        "def broken(session): raise ZeroDivisionError('DOE^JANE')\n"
        "records.workflow.worklist.count_by_state = broken\n"
    )
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "nightdraft", "status"],
        cwd=ROOT, env=os.environ | path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    line = one_line(done)
    assert "ZeroDivisionError" in line
    assert "--debug" in line
    assert "DOE" not in line


def test_status_as_json(nightdraft: Nightdraft, database: str) -> None:
    done = nightdraft("status", "--json")
    assert done.returncode == 0
    overview = json.loads(done.stdout)
    assert overview["counts"]["states"]["DRAFTED"] == 0
    assert overview["alarms"] == []
    assert overview["counts"]["seconds_left"] == 0


def test_migrate_makes_the_tables(nightdraft: Nightdraft, empty_database: str) -> None:
    assert nightdraft("status").returncode == 1
    assert "tables at revision" in nightdraft("migrate").stdout
    assert nightdraft("status").returncode == 0


@pytest.mark.parametrize("arguments", [["listen"], ["serve"], ["work", "sweep"], ["status"]])
def test_without_tables_nothing_starts(
    nightdraft: Nightdraft, arguments: list[str], empty_database: str, broker: str
) -> None:
    assert "run `nightdraft migrate`" in one_line(nightdraft(*arguments))


def test_an_option_wins_over_its_variable(
    nightdraft: Nightdraft, data_dir: Path, setting: Callable[..., None]
) -> None:
    setting(bundle="null")
    assert "NIGHTDRAFT_BUNDLE is not set" in one_line(nightdraft("station", "--bundle", ""))
