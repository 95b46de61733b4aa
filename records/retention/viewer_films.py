"""Removes films that were made for the viewer and were not looked at for a while.

They are as large as the files that they are made of, and are made again at the next look. No row
names them: how old they are is the time of their files, which each look renews.
"""

from __future__ import annotations

from records.blobs import Blobs
from records.retention.rules import Kept, days_of


def remove_unseen(blobs: Blobs) -> int:
    """Remove the films that nobody has looked at for the days of the setting; returns how many.

    Raises:
        OSError: the disk does not let a file go; the next call goes on.
    """
    days = days_of(Kept.VIEWER_FILMS)
    if days is None:
        return 0
    return sum(blobs.remove_film(name) for name in blobs.old_films(24 * days))
