"""Named points at which a test may kill the process, as a power cut would.

    NIGHTDRAFT_KILL_AT=while-drafting NIGHTDRAFT_KILL_MARK=/some/file nightdraft work draft

Without NIGHTDRAFT_KILL_AT nothing ever happens. The first kill creates the file that
NIGHTDRAFT_KILL_MARK names. A process that finds this file goes on, so what is restarted afterwards
lives.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path


def failpoint(name: str) -> None:
    """Kill this process by SIGKILL, once, where the environment names this point."""
    if os.environ.get("NIGHTDRAFT_KILL_AT") != name:
        return
    mark = os.environ.get("NIGHTDRAFT_KILL_MARK", "")
    if mark:
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
