"""Several processes, watched: real children that die, come again, and end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nightdraft.station import supervisor
from nightdraft.station.processes import Children
from nightdraft.station.supervisor import Several, Watched
from tests.support.waiting import eventually


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of `python -m nightdraft` that writes down what it was given."""
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, time\n"
        "print(sys.argv[3:], os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True)\n"
        "for fd in sys.argv[4:]: print('inherited', os.read(int(fd), 100), flush=True)\n"
        "time.sleep(600)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(supervisor.sys, "executable", str(program))
    return tmp_path


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def running(stand_in: Path, said: list[str]) -> Iterator[Several]:
    watched = [
        Watched("draft", ("draft",), f"draft {n}", {"CUDA_VISIBLE_DEVICES": str(n)})
        for n in range(2)
    ]
    children = Children(stand_in / "children.json")
    made = Several(watched, children, os.environ, said.append, stand_in / "logs")
    made.start()
    yield made
    made.end()
    assert not [one for one in made.watched if one.process and one.process.poll() is None]
    assert not (stand_in / "children.json").exists()


def log(folder: Path, label: str) -> str:
    return (folder / "logs" / f"{label}.log").read_text()


def test_each_process_has_its_own_gpu_and_log(running: Several, stand_in: Path) -> None:
    for n in range(2):
        eventually(lambda n=n: log(stand_in, f"draft-{n}") == f"['draft'] {n}\n")


def test_one_that_dies_comes_again_and_its_mate_stays(
    running: Several, stand_in: Path, said: list[str]
) -> None:
    first, second = running.watched
    assert first.process is not None
    assert second.process is not None
    dead, mate = first.process.pid, second.process.pid
    eventually(lambda: "['draft'] 0" in log(stand_in, "draft-0"))
    os.kill(dead, signal.SIGKILL)
    eventually(lambda: (running.look(), "draft 0: ended (SIGKILL), starts again" in said)[1])
    eventually(lambda: (running.look(), first.process is not None)[1])
    assert first.process.pid != dead
    assert second.process.pid == mate
    eventually(lambda: log(stand_in, "draft-0").count("['draft'] 0") == 2)


def test_one_that_dies_again_and_again_is_an_alarm(
    running: Several, said: list[str], monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.setattr(supervisor, "_LONGEST_PAUSE", 0.01)
    first = running.watched[0]
    for _ in range(supervisor.QUICK_DEATHS):
        eventually(lambda: (running.look(), first.process is not None)[1])
        assert first.process is not None
        first.process.kill()
        first.process.wait()
        running.look()
    assert any(line.startswith("ALARM: draft 0 ended 5 times") for line in said)


def test_a_process_inherits_the_files_that_it_is_given(stand_in: Path, said: list[str]) -> None:
    read, write = os.pipe()
    os.write(write, b"a socket")
    one = Watched("listener", ("listen", str(read)), fds=(read,))
    made = Several([one], Children(stand_in / "c.json"), os.environ, said.append, stand_in / "logs")
    made.start()
    try:
        eventually(lambda: "inherited b'a socket'" in log(stand_in, "listener"))
    finally:
        made.end()
        os.close(read)
        os.close(write)


def test_no_child_outlives_its_parent(running: Several) -> None:
    pids = [one.process.pid for one in running.watched if one.process is not None]
    running.end()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
