"""How many slots a device has room for. Knows bytes, and nothing of what they hold."""

from __future__ import annotations

from dataclasses import dataclass

MOST_SLOTS = 256
"""More bring little: the weights are read once a step for all, and are by then a small part."""
SPARE = 0.06
"""Of what is free, left alone: other processes, fragments, the graphs' own memory."""


@dataclass(frozen=True)
class Plan:
    """What was planned, in bytes: slots of a_slot each, the weights, the encoder's peak."""

    slots: int
    weights: int
    encoder: int
    a_slot: int

    @property
    def peak(self) -> int:
        """All of it."""
        return self.weights + self.encoder + self.slots * self.a_slot


def plan_slots(free: int, weights: int, encoder: int, a_slot: int, wanted: int = 0) -> Plan:
    """As many slots as `free` bytes hold beside the encoder's peak; at most `wanted`, if given.

    free: bytes, the weights already there. At least one slot is planned: whether it fits is seen.
    """
    room = int(free * (1 - SPARE)) - encoder
    slots = max(1, min(room // a_slot, wanted or MOST_SLOTS))
    return Plan(slots, weights, encoder, a_slot)
