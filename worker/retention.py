"""What the sweep does for retention: a little of each rule, for a short time.

Everything is found in rows, so a sweep that is missed, doubled or killed is made good by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import PartError
from records.operations import refusals
from records.retention import prepared, removal, viewer_films
from records.retention.rules import Kept, days_of
from records.settings import settings

SECONDS = 2.0
"""How long one sweep removes things, at most; the step that is begun is ended."""


FILMS_SECONDS = 3600.0
"""How often a process looks for films of the viewer that nobody looks at."""


def remove_due(seconds: float = SECONDS) -> None:
    """Take steps of each walk in turn, until nothing is due or the time is over.

    A machine without the blob folder removes nothing: what it noted as removed would stay on the
    disk of another one.

    Raises:
        DatabaseDown: PostgreSQL does not answer; the next sweep goes on.
        OSError: the disk does not let a file go; it stays queued.
    """
    config = settings()
    blobs = Blobs(config.data_dir)
    if not (blobs.root / "instances").is_dir():
        return
    removal.remove_files(blobs)  # what a process that died has left
    _remove_refusals()
    _remove_films(blobs)
    deadline = time.monotonic() + seconds
    walks: list[Callable[[Blobs], bool]] = [
        removal.take_step,
        prepared.take_step,
        prepared.take_stray_step,
    ]
    while walks and time.monotonic() < deadline:
        walks = [step for step in walks if step(blobs)]


def remove_all() -> None:
    """Remove all that is due now, in whole rounds that begin at once.

    Raises:
        PartError: the blob folder is not here.
        DatabaseDown: PostgreSQL does not answer; another call goes on.
        OSError: the disk does not let a file go; it stays queued.
    """
    blobs = Blobs(settings().data_dir)
    if not (blobs.root / "instances").is_dir():
        raise PartError(f"the data folder {blobs.root} holds no instances: is its disk mounted?")
    removal.remove_files(blobs)
    while _remove_refusals():
        pass
    viewer_films.remove_unseen(blobs)
    for _ in range(2):  # the first ends a round that was going on
        begin = True
        while removal.take_step(blobs, begin=begin):
            begin = False
        begin = True
        while prepared.take_stray_step(blobs, begin=begin):
            begin = False
    while prepared.take_step(blobs):
        pass


_films_removed_at: float | None = None  # of this process; no row names these files


def _remove_films(blobs: Blobs) -> None:
    """Remove films that nobody looks at, once in a while: whole folders are read for it."""
    global _films_removed_at
    now = time.monotonic()
    if _films_removed_at is None or now - _films_removed_at >= FILMS_SECONDS:
        viewer_films.remove_unseen(blobs)
        _films_removed_at = now


def _remove_refusals() -> int:
    days = days_of(Kept.REFUSALS)
    if days is None:
        return 0
    with unit_of_work() as session:
        return refusals.remove_old(session, days)
