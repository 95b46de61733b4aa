"""The commands of a page of the documentation, to be run by a test as a reader would."""

from __future__ import annotations

import re
import textwrap

from tests.support.paths import ROOT

_HEADING = re.compile(r"^(#+) (.+)$")
_FENCE = re.compile(r"^( *)```(\w*)$")


def code_blocks(page: str, heading: str, language: str = "sh") -> list[str]:
    """Return the blocks of code that stand directly below one heading of a page.

    Args:
        page: the page, from the repository's root.
        heading: the heading's text.
        language: the language of the blocks.

    Raises:
        LookupError: the page has no such heading, or no such block below it.
    """
    is_below = False
    is_wanted = False
    block: list[str] | None = None
    blocks = []
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if fence := _FENCE.match(line):
            if block is None:
                block = []
                is_wanted = is_below and fence[2] == language
            else:
                if is_wanted:
                    blocks.append(textwrap.dedent("\n".join(block)))
                block = None
        elif block is not None:
            block.append(line)
        elif found := _HEADING.match(line):
            is_below = found[2] == heading
    if not blocks:
        raise LookupError(f"{page} has no block of {language} below {heading!r}")
    return blocks
