"""Running parts leave what they loaded out of their garbage collections."""

import os
import subprocess
import sys

import pytest

START = """
import gc, os, signal
from records.settings import settings
from {module} import {run}

def look(_):
    print(gc.get_freeze_count())
    print(len(gc.get_objects()))
    os.kill(os.getpid(), signal.SIGTERM)

{run}(settings(), ready=look)
"""


@pytest.mark.parametrize(
    ("module", "run"),
    [
        ("api.app", "run_server"),
        ("intake.dicom.listener", "run_listener"),
        ("intake.hl7.listener", "run_hl7_listener"),
    ],
)
def test_a_part_that_has_started_collects_little(database, data_dir, setting, module, run):
    setting(serve_port=0, listen_port=0, hl7_port=0)
    done = subprocess.run(
        [sys.executable, "-c", START.format(module=module, run=run)],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    frozen, looked_at = (int(line) for line in done.stdout.split())
    assert frozen > 20 * looked_at
