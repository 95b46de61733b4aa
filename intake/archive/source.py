"""What a source of campaigns is: where studies are walked, found and fetched."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from records.campaigns.adding import NewStudy
from records.campaigns.pulling import ClaimedPull
from records.campaigns.walking import ClaimedWalk
from records.states import CampaignKind

Progress = Callable[[], None]
"""Called as the images of a study come; it keeps the claim, and raises LostLease where that is
lost."""


@dataclass(frozen=True, slots=True)
class WalkBatch:
    """Studies that a walk found, and where it goes on after them.

    Attributes:
        studies: of one batch.
        files: of a folder, by study UID: the size of each file by its path.
        position: where the walk goes on.
        note: what a person should know of the walk up to here; None is nothing new.
    """

    studies: Sequence[NewStudy]
    position: Mapping[str, Any] | None
    files: Mapping[str, Mapping[str, int]] | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Pulled:
    """What of a study is here now.

    Attributes:
        listed: how many wanted images the source lists.
        missing: SOP Instance UIDs of those that are not here.
        size: bytes, where known.
    """

    listed: int
    missing: Sequence[str]
    size: int | None = None


class Source(Protocol):
    """Where studies are fetched from: a PACS, or folders."""

    name: str
    """Whose alarm and light it is."""
    pacs: str
    """The name by which campaigns know it; "" for folders."""
    kinds: Sequence[CampaignKind]
    walked: Sequence[CampaignKind]
    """The kinds that it walks."""
    attempts: int
    retry_seconds: float
    offline_seconds: float

    def walk(self, walk: ClaimedWalk) -> Generator[WalkBatch]:
        """Walk a campaign's source from its position on."""

    def find(self, accession_number: str) -> Sequence[str]:
        """The UIDs of the studies that an accession number means."""

    def pull(self, pull: ClaimedPull, progress: Progress) -> Pulled | None:
        """Fetch what is not here of a study; None where the source does not know the study.

        Raises:
            LostLease: `progress` raised it; nothing more is fetched.
        """

    def check(self) -> None:
        """Find out whether the source answers."""

    def wait_seconds(self, now: float) -> float:
        """How long to wait before the next study is fetched, by the monotonic clock."""
