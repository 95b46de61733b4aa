"""Writes docker/requirements.lock: each package of the images, with the hash of its one wheel.

    pip install --dry-run --ignore-installed --report report.json -c constraints.txt .
    python -m tools.lock_hashes report.json > docker/requirements.lock

The first command must run under the Python and on the kind of machine that the images have (Python
3.11, Linux on x86-64), for other machines have other wheels. A test compares names and versions
with constraints.txt.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """\
# Made by tools/lock_hashes.py for Python 3.11 on Linux, x86-64. A line is a package of the images.
# torch is not here: the two images have different builds of it.
"""


def lock(report: dict[str, Any]) -> str:
    """The lines of the lock, out of pip's report of an installation.

    Raises:
        ValueError: a package has no hash.
    """
    lines = []
    for entry in report["install"]:
        name, version = entry["metadata"]["name"], entry["metadata"]["version"]
        # Our own folder; and torch, whose build depends on the machine (docker/Dockerfile).
        if "dir_info" in entry["download_info"] or name == "torch":
            continue
        digest = entry["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if not digest:
            raise ValueError(f"{name} {version} has no hash")
        lines.append(f"{name.lower().replace('_', '-')}=={version} --hash=sha256:{digest}\n")
    return HEAD + "".join(sorted(lines))


if __name__ == "__main__":
    sys.stdout.write(lock(json.loads(Path(sys.argv[1]).read_text())))
