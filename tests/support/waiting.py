"""Waits on a condition, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 30) -> T:
    """Call the condition until its result is true, and return the result.

    Args:
        condition: Returns something true at last; an AssertionError in it counts as not yet.
        seconds: After this time the test fails.

    Raises:
        AssertionError: It never became true; the condition's own last AssertionError if it had one.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            result = condition()
            if result:
                return result
            last: AssertionError = AssertionError(f"still {result!r} after {seconds} s")
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise last
        time.sleep(0.05)
