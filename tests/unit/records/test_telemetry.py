"""Logs: a patient's name does not get in, by a field, a library or a traceback."""

import ast
import json
import logging
import sys
import threading
import uuid
import warnings
from pathlib import Path

import pytest

from records.telemetry import FIELDS, log_context, log_sentence, logger, set_up_logs
from tests.support.logging_state import logging_restored

ROOT = Path(__file__).resolve().parents[3]
STUDY = uuid.UUID("0198c1de-0000-7000-8000-000000000001")
NAME = "PLANTED^NAME"


@pytest.fixture(autouse=True)
def _logs_as_before():
    with logging_restored():
        yield


@pytest.mark.parametrize("form", ["text", "json"])
def test_unknown_fields_are_left_out_and_named(capsys, form):
    set_up_logs(form, "debug", "listener")
    logger().info("an image was kept", study="our-own-id", patient_name=NAME)
    line = capsys.readouterr().err
    assert NAME not in line
    assert "our-own-id" in line
    assert "fields left out: patient_name" in line


def test_json_lines_are_one_object_each(capsys):
    set_up_logs("json", "info", "sweep")
    logger().info("swept", count=3)
    line = json.loads(capsys.readouterr().err)
    assert (line["message"], line["count"], line["part"]) == ("swept", 3, "sweep")


def _in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _fail():
    raise ValueError(f"no {NAME}")


def _log_a_traceback():
    try:
        _fail()
    except ValueError:
        logging.getLogger("uvicorn.error").exception("it failed for %s", NAME)


def _uncaught():
    try:
        _fail()
    except ValueError:
        sys.excepthook(*sys.exc_info())


WRITERS = {
    "our own": lambda: logger().info("an object was kept", study=str(STUDY)),
    "our own in a thread": lambda: _in_a_thread(lambda: logger().warning("leases wait")),
    "uvicorn": lambda: logging.getLogger("uvicorn.error").info("Started\nserver process [%d]", 7),
    "Celery": lambda: logging.getLogger("celery.worker").critical("it cannot connect"),
    "pynetdicom": lambda: logging.getLogger("pynetdicom.ae").error("a port is in use"),
    "an odd level": lambda: logging.getLogger("a.library").log(35, "it is odd"),
    "a traceback": _log_a_traceback,
    "a warning": lambda: warnings.warn(f"{NAME} is odd", UserWarning, stacklevel=1),
    "nobody caught it": _uncaught,
    "nobody caught it in a thread": lambda: _in_a_thread(_fail),
    "a sentence of the station": lambda: log_sentence("warning: the disk is nearly full"),
    "an alarm of the station": lambda: log_sentence("ALARM: draft ended 5 times"),
}
"""Whoever writes a line."""


@pytest.mark.filterwarnings("always")
@pytest.mark.parametrize("writer", WRITERS)
def test_whoever_writes_a_line_it_has_the_one_form(capsys, writer):
    set_up_logs("json", "debug", "draft")
    with log_context(request_id=str(STUDY)):
        WRITERS[writer]()
    (text,) = capsys.readouterr().err.splitlines()
    line = json.loads(text)
    assert list(line)[:5] == ["time", "level", "part", "pid", "message"]
    assert line["part"] == "draft"
    assert line["level"] in ("debug", "info", "warning", "error", "critical")
    assert line["message"]
    assert line["time"].endswith("Z")
    if "thread" not in writer:
        assert line["request_id"] == str(STUDY)
        assert line["trace_id"] == STUDY.hex
    assert NAME not in text


def test_the_trace_of_a_study_is_its_id_wherever_the_request_came_from(capsys):
    set_up_logs("json")
    with log_context(request_id=str(uuid.uuid4())):
        logger().info("a draft was saved", study=str(STUDY))
        with log_context(trace_id="ab" * 16):  # as a caller gave it
            logger().info("a request was answered", study=str(STUDY))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["trace_id"] for line in lines] == [STUDY.hex, "ab" * 16]
    assert {line["study"] for line in lines} == {str(STUDY)}


def test_lines_for_people_are_text(capsys):
    set_up_logs("text", "info", "api")
    logger().info("an object was kept", study=str(STUDY))
    logging.getLogger("uvicorn.error").warning("it is slow")
    ours, theirs = capsys.readouterr().err.splitlines()
    assert "an object was kept" in ours
    assert "library=uvicorn.error" in theirs
    assert "trace_id" not in ours  # it is the study's id without hyphens


def test_the_code_logs_no_field_that_is_not_allowed():
    """A field that is not on the list is left out of every line, which nobody sees in time."""
    logged = {}
    floors = ("records", "intake", "worker", "api", "nightdraft")
    for path in [path for floor in floors for path in ROOT.glob(f"{floor}/**/*.py")]:
        for call in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and isinstance(call.func.value, ast.Call)
                and isinstance(call.func.value.func, ast.Name)
                and call.func.value.func.id == "logger"
            ):
                logged |= {keyword.arg: str(path) for keyword in call.keywords if keyword.arg}
    assert {field: path for field, path in logged.items() if field not in FIELDS} == {}
    assert {"study", "draft_request", "worker"} <= set(logged)


def test_tracebacks_of_libraries_are_not_quoted(capsys):
    set_up_logs()
    try:
        raise ValueError(f"cannot read {NAME}")
    except ValueError:
        logging.getLogger("celery.app.trace").exception("task failed for %s", NAME)
    line = capsys.readouterr().err
    assert NAME not in line
    assert "ValueError" in line


def test_dicom_libraries_are_turned_down(capsys):
    set_up_logs(level="debug")
    for name in ("pynetdicom.acse", "pydicom.config", "sqlalchemy.engine"):
        logging.getLogger(name).warning("the value %s is odd", NAME)
    assert NAME not in capsys.readouterr().err
