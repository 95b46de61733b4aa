"""Seconds that a device worked, told without making it wait. Knows nothing of the work."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

_EVENTS = 64  # pairs kept before the older ones are added up


class Clock:
    """Seconds of the device between `with` and its end, all together."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._started = 0.0
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @property
    def seconds(self) -> float:
        """So far; waits for the device."""
        if self._events:
            self._events[-1][1].synchronize()
            self._add(self._events)
            self._events = []
        return self._seconds

    def __enter__(self) -> None:
        if self._on_gpu:
            self._events.append((_event(), _event()))
            self._events[-1][0].record()
        else:
            self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if not self._on_gpu:
            self._seconds += time.perf_counter() - self._started
            return
        self._events[-1][1].record()
        if len(self._events) >= _EVENTS:
            # Those of the first half are over long ago: adding them up waits for nothing.
            over, self._events = self._events[: _EVENTS // 2], self._events[_EVENTS // 2 :]
            over[-1][1].synchronize()
            self._add(over)

    def _add(self, events: Sequence[tuple[torch.cuda.Event, torch.cuda.Event]]) -> None:
        self._seconds += sum(start.elapsed_time(end) for start, end in events) / 1000.0


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
