"""Calls a function every few seconds, in a thread beside the work of a worker's process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from records.errors import safe_text
from records.telemetry import logger

_END_SECONDS = 2.0
"""How long a call is waited for that is under way at the end: what it did not do is done again."""


class Repeater:
    """Calls a function again and again while the block runs.

    What fails is logged, unless the call before failed alike, and the next call tries again.
    """

    def __init__(self, name: str, call: Callable[[], object], seconds: float, failed: str) -> None:
        """Prepare the thread; a `with` block starts it.

        Args:
            name: of the thread.
            call: what is called.
            seconds: between the end of a call and the next one.
            failed: what the log says where a call fails.
        """
        self._call = call
        self._seconds = seconds
        self._failed = failed
        self._error = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._call()
                self._error = ""
            except Exception as error:  # whatever it is, the next call tries again
                text = safe_text(error)
                if text != self._error:
                    logger().warning(self._failed, error=text)
                self._error = text
