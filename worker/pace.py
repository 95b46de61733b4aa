"""How fast a draft worker drafts, and how full its slots are, between two heartbeats.

Knows the model's counts and no rows.
"""

from __future__ import annotations

import time

from model.inference.counters import Tally
from model.reporter import Drafting


class Pace:
    """What was done since it was last asked. Asked by one thread, while another drafts."""

    def __init__(self) -> None:
        self._reporter: Drafting | None = None
        self._then = Tally()
        self._began = 0.0

    def follow(self, reporter: Drafting) -> None:
        """From now on, of this model."""
        self._then = reporter.tally.copy()
        self._began = time.monotonic()
        self._reporter = reporter

    def facts(self) -> dict[str, float]:
        """Numbers for the heartbeat; none before a model is loaded.

        slots: studies written at once. occupancy: the share of slot-steps that wrote a token.
        studies_per_second, tokens_per_second: since the last call. studies, reruns: since the
        model was loaded; a rerun is a study for which half precision gave no numbers.
        """
        reporter = self._reporter
        if reporter is None:
            return {}
        now, then, at = reporter.tally.copy(), self._then, time.monotonic()
        seconds = max(at - self._began, 1e-9)
        self._then, self._began = now, at
        return {
            "slots": reporter.slots,
            "occupancy": round(now.occupancy(then), 4),
            "studies_per_second": round((now.studies - then.studies) / seconds, 4),
            "tokens_per_second": round((now.tokens - then.tokens) / seconds, 2),
            "studies": now.studies,
            "reruns": now.reruns,
        }
