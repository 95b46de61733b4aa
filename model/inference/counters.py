"""Counts of what an engine has done since it was loaded. Knows no torch and no clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(slots=True)
class Tally:
    """Cumulative; take a copy and subtract to look at a stretch of time.

    studies: drafted. tokens: told, ends of text among them. steps: of the decoder. slot_steps:
    steps times slots. busy_slot_steps: of those, the ones that told a token of a draft. reruns:
    studies run again in float32. encode_seconds, decode_seconds: of the device.
    """

    studies: int = 0
    tokens: int = 0
    steps: int = 0
    slot_steps: int = 0
    busy_slot_steps: int = 0
    reruns: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0

    def copy(self) -> Tally:
        """The counts as they stand now."""
        return replace(self)

    def occupancy(self, since: Tally) -> float:
        """The share of slots that were busy since an earlier copy; 0 where no step was taken."""
        steps = self.slot_steps - since.slot_steps
        return (self.busy_slot_steps - since.busy_slot_steps) / steps if steps else 0.0
