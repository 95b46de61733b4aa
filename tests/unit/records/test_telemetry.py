"""Logs: a patient's name does not get in, by a field, a library or a traceback."""

import json
import logging

import pytest
import structlog

from records.telemetry import logger, set_up_logs

NAME = "PLANTED^NAME"


@pytest.fixture(autouse=True)
def _logs_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


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
    assert (line["event"], line["count"], line["part"]) == ("swept", 3, "sweep")


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
