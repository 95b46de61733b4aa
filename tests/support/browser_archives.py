"""What a browser was sent, of the archive (HAR) that Playwright wrote of it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path


def sent_texts(archive: Path) -> Iterator[tuple[str, str]]:
    """(address, text) of each answer that a browser got, of an archive that it wrote."""
    with zipfile.ZipFile(archive) as files:
        har = json.loads(files.read("har.har"))
        for entry in har["log"]["entries"]:
            name = entry["response"]["content"].get("_file")
            if name and not entry["response"]["content"]["mimeType"].startswith("image/"):
                yield entry["request"]["url"], files.read(name).decode(errors="replace")
