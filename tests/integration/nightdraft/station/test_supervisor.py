"""The supervisor, with real child processes that die, are restarted, and end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nightdraft.station import supervisor as supervisor_module
from nightdraft.station.processes import ChildProcesses
from nightdraft.station.supervisor import CRASH_LIMIT, SupervisedProcess, Supervisor
from records.database.session import unit_of_work
from records.operations import alarms
from tests.support.waiting import eventually


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a program in place of Python, which prints what it was given."""
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, time\n"
        "print(sys.argv[3:], os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True)\n"
        "for fd in sys.argv[4:]: print('inherited', os.read(int(fd), 100), flush=True)\n"
        "time.sleep(600)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(supervisor_module.sys, "executable", str(program))
    return tmp_path


@pytest.fixture
def log_lines() -> list[str]:
    return []


@pytest.fixture
def supervisor(stand_in: Path, log_lines: list[str]) -> Iterator[Supervisor]:
    """Two draft processes, which restart without delay."""
    running = Supervisor(
        [
            SupervisedProcess("draft", ("draft",), f"draft {n}", {"CUDA_VISIBLE_DEVICES": str(n)})
            for n in range(2)
        ],
        ChildProcesses(stand_in / "children.json"),
        os.environ,
        log_lines.append,
        stand_in / "logs",
        max_restart_delay=0.01,
    )
    running.start()
    yield running
    running.end()
    assert not [
        entry for entry in running.supervised if entry.process and entry.process.poll() is None
    ]
    assert not (stand_in / "children.json").exists()


def log_of(folder: Path, label: str) -> str:
    return (folder / "logs" / f"{label}.log").read_text()


def test_each_process_has_its_own_gpu_and_log(supervisor: Supervisor, stand_in: Path) -> None:
    for n in range(2):
        eventually(lambda n=n: log_of(stand_in, f"draft-{n}") == f"['draft'] {n}\n")


def test_a_dead_process_is_restarted_and_the_other_keeps_running(
    supervisor: Supervisor, stand_in: Path, log_lines: list[str]
) -> None:
    first, second = supervisor.supervised
    assert first.process is not None
    assert second.process is not None
    dead, other = first.process.pid, second.process.pid
    eventually(lambda: "['draft'] 0" in log_of(stand_in, "draft-0"))
    os.kill(dead, signal.SIGKILL)
    line = "draft 0: ended (SIGKILL), restarting"
    eventually(lambda: (supervisor.restart_dead(), line in log_lines)[1])
    eventually(lambda: (supervisor.restart_dead(), first.process is not None)[1])
    assert first.process.pid != dead
    assert second.process.pid == other
    eventually(lambda: log_of(stand_in, "draft-0").count("['draft'] 0") == 2)


def test_a_process_that_dies_again_and_again_raises_an_alarm_until_it_is_well(
    supervisor: Supervisor,
    log_lines: list[str],
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = supervisor.supervised[0]
    for _ in range(CRASH_LIMIT):
        eventually(lambda: (supervisor.restart_dead(), first.process is not None)[1])
        assert first.process is not None
        first.process.kill()
        first.process.wait()
        supervisor.restart_dead()
    assert any(line.startswith("ALARM: draft 0 ended 5 times") for line in log_lines)

    def open_parts() -> list[str]:
        supervisor.restart_dead()
        with unit_of_work() as session:
            return [alarm.part for alarm in alarms.open_alarms(session)]

    assert eventually(open_parts) == ["station draft 0"]
    monkeypatch.setattr("nightdraft.station.supervisor.CRASH_WINDOW_SECONDS", 0.0)
    eventually(lambda: not open_parts())
    assert "draft 0: runs well again, its alarm is closed" in log_lines


def test_a_process_inherits_the_files_that_it_is_given(
    stand_in: Path, log_lines: list[str]
) -> None:
    read, write = os.pipe()
    os.write(write, b"a socket")
    supervisor = Supervisor(
        [SupervisedProcess("listener", ("listen", str(read)), fds=(read,))],
        ChildProcesses(stand_in / "children.json"),
        os.environ,
        log_lines.append,
        stand_in / "logs",
    )
    supervisor.start()
    try:
        eventually(lambda: "inherited b'a socket'" in log_of(stand_in, "listener"))
    finally:
        supervisor.end()
        os.close(read)
        os.close(write)


def test_no_child_outlives_its_parent(supervisor: Supervisor) -> None:
    pids = [entry.process.pid for entry in supervisor.supervised if entry.process is not None]
    assert len(pids) == 2
    supervisor.end()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
