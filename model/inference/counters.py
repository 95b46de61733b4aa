"""Counts of what an engine has done since it was loaded. This module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(slots=True)
class EngineCounters:
    """Cumulative counts. To look at a stretch of time, take a copy and subtract it later.

    Attributes:
        studies: Studies that were drafted or have failed in the network.
        tokens: Generated tokens, ends of text included.
        steps: Steps of the decoder.
        slot_steps: Steps times slots.
        busy_slot_steps: Of the slot steps, those that generated a token of a draft.
        reruns: Studies that were run again in float32.
        encode_seconds, decode_seconds: Time of the device in the encoders and in the decoder.
    """

    studies: int = 0
    tokens: int = 0
    steps: int = 0
    slot_steps: int = 0
    busy_slot_steps: int = 0
    reruns: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0

    def copy(self) -> EngineCounters:
        """The counts as they stand now."""
        return replace(self)

    def occupancy(self, since: EngineCounters) -> float:
        """The share of slots that were busy since an earlier copy; 0 where no step was taken."""
        steps = self.slot_steps - since.slot_steps
        return (self.busy_slot_steps - since.busy_slot_steps) / steps if steps else 0.0
