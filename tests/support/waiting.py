"""Waiting on a condition, never on a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 30) -> T:
    """Ask until the answer is true, and return it; an AssertionError in it counts as not yet.

    Raises:
        AssertionError: it never became true; the condition's own last words where it had any.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            answer = condition()
            if answer:
                return answer
            last: AssertionError = AssertionError(f"still {answer!r} after {seconds} s")
        except AssertionError as error:
            last = error
        if time.monotonic() > until:
            raise last
        time.sleep(0.05)
