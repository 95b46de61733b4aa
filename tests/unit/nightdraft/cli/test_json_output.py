"""JSON of the commands: times in UTC, ASCII, and nothing that a reader of JSON cannot read."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from nightdraft.cli.json_output import as_json, progress_line, write_figures
from records.states import VisibleState

IN_PARIS = dt.datetime(2026, 11, 24, 19, 30, tzinfo=dt.timezone(dt.timedelta(hours=1)))


class Model(BaseModel):
    at: dt.datetime


@dataclass
class Record:
    model: Model
    times: tuple[dt.datetime, ...]


def test_times_are_in_utc_wherever_they_stand() -> None:
    value = {"at": IN_PARIS, "record": Record(Model(at=IN_PARIS), (IN_PARIS,))}
    utc = "2026-11-24T18:30:00Z"
    assert json.loads(as_json(value)) == {
        "at": utc,
        "record": {"model": {"at": utc}, "times": [utc]},
    }


def test_what_json_does_not_have() -> None:
    id_ = uuid.UUID(int=7)
    value = {"id": id_, "file": Path("/a"), "state": VisibleState.HELD, 7: [float("nan"), 1.5]}
    assert json.loads(as_json(value)) == {
        "id": str(id_),
        "file": "/a",
        "state": "HELD",
        "7": [None, 1.5],
    }


def test_no_character_of_a_name_reaches_the_terminal_as_it_is() -> None:
    name = "DOE\x1b[2J\x9b\u202eMÜLLER"
    written = as_json({"name": name})
    assert written.isascii()
    assert "\x1b" not in written
    assert json.loads(written) == {"name": name}


def test_figures_go_to_a_file_or_alone_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    assert write_figures({"a": 1}, file)
    assert json.loads(file.read_text()) == {"a": 1}
    assert write_figures({"a": 1}, None)
    progress_line(file)("a step")
    assert capsys.readouterr().out == "a step\n"
    assert not write_figures({"a": 1}, Path("-"))
    progress_line(Path("-"))("a step")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": 1}
    assert captured.err == "a step\n"
