"""Measures how many seconds a device worked, without making it wait."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from model.inference.device_guard import on_own_device

MAX_EVENT_PAIRS = 64
"""Pairs of CUDA events that are kept before the older half is added up."""


class DeviceClock:
    """Adds up the seconds that the device spends inside its `with` blocks."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._on_gpu = device.type == "cuda"
        self._started = 0.0
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @property
    @on_own_device
    def seconds(self) -> float:
        """Seconds so far. On a GPU this waits for the last block to end."""
        if self._events:
            self._events[-1][1].synchronize()
            self._add(self._events)
            self._events = []
        return self._seconds

    @on_own_device
    def __enter__(self) -> None:
        if self._on_gpu:
            self._events.append((_event(), _event()))
            self._events[-1][0].record()
        else:
            self._started = time.perf_counter()

    @on_own_device
    def __exit__(self, *_: object) -> None:
        if not self._on_gpu:
            self._seconds += time.perf_counter() - self._started
            return
        self._events[-1][1].record()
        if len(self._events) >= MAX_EVENT_PAIRS:
            # The first half ended long ago, so that adding them up waits for nothing.
            half = MAX_EVENT_PAIRS // 2
            ended, self._events = self._events[:half], self._events[half:]
            ended[-1][1].synchronize()
            self._add(ended)

    def _add(self, events: Sequence[tuple[torch.cuda.Event, torch.cuda.Event]]) -> None:
        self._seconds += sum(start.elapsed_time(end) for start, end in events) / 1000.0


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
