"""Plans how many slots fit into the memory of a device."""

from __future__ import annotations

from dataclasses import dataclass

MAX_SLOTS = 256
"""More slots bring little: the weights are read once a step for all slots, and with so many slots
they are a small part of what a step reads."""
RESERVED_SHARE = 0.06
"""Share of the free memory that is left to other processes, fragmentation and CUDA graphs."""


@dataclass(frozen=True)
class SlotPlan:
    """What was planned, in bytes.

    Attributes:
        slots: Number of slots.
        weights: Bytes of the weights.
        encoder: Peak bytes of the encoders over the largest group.
        bytes_per_slot: Bytes of the caches and logits of one slot.
    """

    slots: int
    weights: int
    encoder: int
    bytes_per_slot: int

    @property
    def peak(self) -> int:
        """Bytes of everything together."""
        return self.weights + self.encoder + self.slots * self.bytes_per_slot


def plan_slots(
    free: int, weights: int, encoder: int, bytes_per_slot: int, requested: int = 0
) -> SlotPlan:
    """Plan as many slots as the free memory holds beside the encoders' peak.

    Args:
        free: Free bytes of the device, with the weights already loaded.
        weights: Bytes of the weights.
        encoder: Peak bytes of the encoders over the largest group.
        bytes_per_slot: Bytes of one slot.
        requested: Most slots to plan; 0 plans up to `MAX_SLOTS`.

    Returns:
        A plan of at least one slot. Whether a single slot fits shows when it is allocated.
    """
    room = int(free * (1 - RESERVED_SHARE)) - encoder
    slots = max(1, min(room // bytes_per_slot, requested or MAX_SLOTS))
    return SlotPlan(slots, weights, encoder, bytes_per_slot)
