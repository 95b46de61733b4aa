"""Commands that another user than root can run, wherever this Python lies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_OPEN = """
aside=$1; shift
while [ "$1" != -- ]; do
    mount --bind "$1" "$aside" && mount -t tmpfs -o mode=0755 tmpfs "$1" || exit 1
    mkdir "$1/$2" && mount --bind "$aside/$2" "$1/$2" && umount --lazy "$aside" || exit 1
    shift 2
done
shift
exec "$@"
"""


def for_every_user(aside: Path) -> list[str]:
    """Words before a command of root's, so that another user can read this Python and this code.

    Where a closed folder is in the way, such as /root, the command sees a passable one in its
    place, which holds nothing but the way: in a mount namespace of its own.

    Args:
        aside: An empty folder, over which the command mounts for a moment.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    closed: dict[Path, str] = {}
    for way in (Path(sys.executable), Path(sys.executable).resolve(), Path(__file__)):
        for folder, child in zip(way.parents, (way, *way.parents), strict=False):
            if not folder.stat().st_mode & 0o001:
                closed[folder] = child.name
    words = [word for folder, child in closed.items() for word in (str(folder), child)]
    prefix = ["unshare", "--mount", "sh", "-c", _OPEN, "sh", str(aside), *words, "--"]
    if not closed:
        return []
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip(f"no other user may pass through {', '.join(map(str, closed))}")
    return prefix
