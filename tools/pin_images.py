"""Pins the images of docker/ by their digest, so that a tag that is moved changes nothing here.

    python -m tools.pin_images            # asks the registry by `docker buildx imagetools inspect`
    python -m tools.pin_images --check    # exits with 1 where an image has no digest, and names it

A digest is only ever taken from a registry. An image that is built here has none.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

DOCKER = Path(__file__).parents[1] / "docker"
FILES = (DOCKER / "Dockerfile", DOCKER / "compose.yaml")

_IMAGE = re.compile(
    r"^(?P<key>FROM |\s+image: )(?P<name>[a-z0-9./-]+:[\w.-]+)"
    r"(?P<digest>@sha256:[0-9a-f]{64})?(?=\s|$)",
    re.MULTILINE,
)
"""An image with a tag; a stage of the Dockerfile has none, and ours has a variable."""


def unpinned(text: str) -> list[str]:
    """The images that a Dockerfile or a compose file names without a digest."""
    return sorted({found["name"] for found in _IMAGE.finditer(text) if not found["digest"]})


def pin(text: str, digest_of: Callable[[str], str]) -> str:
    """The text with the present digest of each image behind its tag.

    Args:
        text: a Dockerfile or a compose file.
        digest_of: gives the digest of an image, as `sha256:` and 64 hexadecimal digits.

    Raises:
        ValueError: what it gives is no digest.
    """

    def replace(found: re.Match[str]) -> str:
        digest = digest_of(found["name"])
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise ValueError(f"{found['name']}: {digest!r} is no digest")
        return f"{found['key']}{found['name']}@{digest}"

    return _IMAGE.sub(replace, text)


def ask_registry(image: str) -> str:
    """The digest that the registry has for an image.

    Raises:
        subprocess.CalledProcessError: it does not answer.
    """
    done = subprocess.run(
        ["docker", "buildx", "imagetools", "inspect", image, "--format", "{{.Manifest.Digest}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def main(arguments: list[str]) -> int:
    """Pin, or check; return the exit status."""
    if arguments == ["--check"]:
        missing = [f"{file.name}: {name}" for file in FILES for name in unpinned(file.read_text())]
        print("\n".join(missing) or "every image has its digest")
        return 1 if missing else 0
    # All are asked before a file is written.
    pinned = {file: pin(file.read_text(), ask_registry) for file in FILES}
    for file, text in pinned.items():
        file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
