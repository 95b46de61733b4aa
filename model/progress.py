"""The one shape of a progress callback, for loading, building, reading corpora and scoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class ProgressCallback(Protocol):
    """Is called from time to time while long work goes on, in the thread that works."""

    def __call__(self, step: str, done: float, total: float | None, /) -> None:
        """Report progress.

        Args:
            step: What is being done, in a few words, as "reading weights".
            done: How much of it is done, in the unit of `total`.
            total: How much there is to do; None where that is not known beforehand.
        """
        ...


def no_progress(_step: str, _done: float, _total: float | None) -> None:
    """Report nothing; the default of functions that take a `ProgressCallback`."""


ByteCounter = Callable[[int], None]
"""Is called with the number of bytes that were moved since the last call."""
