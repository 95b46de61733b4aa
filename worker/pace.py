"""How fast a draft worker drafts, and how busy its device is, between two heartbeats."""

from __future__ import annotations

import time
from collections.abc import Callable

from model.inference.counters import EngineCounters
from model.reporter import Drafter


class Pace:
    """Measures the work since the last call of `facts`.

    One thread may call `facts` while another one drafts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure nothing yet. clock: seconds, as `time.monotonic`."""
        self._clock = clock
        self._reporter: Drafter | None = None
        self._last_counters = EngineCounters()
        self._last_time = 0.0

    def follow(self, reporter: Drafter) -> None:
        """Measure this model from now on."""
        self._last_counters = reporter.counters.copy()
        self._last_time = self._clock()
        self._reporter = reporter

    def facts(self) -> dict[str, float | str]:
        """What the heartbeat says of the work.

        Returns:
            Nothing before a model is loaded; then:
            device: the device's name.
            busy: the share of the time since the last call in which the device computed.
            slots: studies that are written at the same time.
            occupancy: the share of slot-steps that wrote a token, since the last call.
            studies_per_second, tokens_per_second: since the last call.
            studies, reruns: since the model was loaded; a rerun is a study for which half precision
            gave no numbers.
        """
        reporter = self._reporter
        if reporter is None:
            return {}
        counters, last, now = reporter.counters.copy(), self._last_counters, self._clock()
        seconds = max(now - self._last_time, 1e-9)
        self._last_counters, self._last_time = counters, now
        computed = (
            counters.encode_seconds
            - last.encode_seconds
            + counters.decode_seconds
            - last.decode_seconds
        )
        return {
            "device": reporter.device_name,
            # A GPU's own times come some steps late, so a stretch may get those of the one before.
            "busy": round(min(1.0, max(0.0, computed / seconds)), 4),
            "slots": reporter.slots,
            "occupancy": round(counters.occupancy(last), 4),
            "studies_per_second": round((counters.studies - last.studies) / seconds, 4),
            "tokens_per_second": round((counters.tokens - last.tokens) / seconds, 2),
            "studies": counters.studies,
            "reruns": counters.reruns,
        }
