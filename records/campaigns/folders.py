"""Which folders campaigns may read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from records.errors import NotAllowed


def find_allowed_folder(folder: str, allowed: Sequence[str]) -> Path:
    """The folder of a campaign, if campaigns may read it.

    Args:
        folder: its path.
        allowed: NIGHTDRAFT_CAMPAIGN_FOLDERS.

    Raises:
        NotAllowed: it is not below one of them.
    """
    resolved = Path(folder).resolve()
    for name in allowed:
        if resolved.is_relative_to(Path(name).resolve()):
            return resolved
    raise NotAllowed(
        f"the folder {folder} is not below one that campaigns may read: add it to "
        "NIGHTDRAFT_CAMPAIGN_FOLDERS"
    )
