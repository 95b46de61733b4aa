"""Makes the page /runbook out of docs/operate/runbook.md, so that it is there without the internet.

python -m tools.runbook_page > api/templates/runbook.html
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from markdown_it import MarkdownIt

RUNBOOK = Path(__file__).resolve().parent.parent / "docs/operate/runbook.md"

_TEMPLATE = """\
{{# Made by `python -m tools.runbook_page` from docs/operate/runbook.md. #}}
{{% set current_page = "runbook" %}}
{{% extends "base.html" %}}
{{% block title %}}Runbook - Nightdraft{{% endblock %}}
{{% block body %}}
<main id="main" class="prose">
{{% raw %}}
{body}{{% endraw %}}
</main>
{{% endblock %}}
"""


def runbook_page(text: str) -> str:
    """The template of the page.

    Args:
        text: the runbook, as Markdown.

    Returns:
        The text of api/templates/runbook.html. Each heading has the anchor that GitHub gives it.
        Links to other pages of the documentation are plain words: the server has not got them.
    """
    text = re.sub(r"\[([^\]]+)\]\((?!#)[^)]+\)", r"\1", text)
    html = MarkdownIt("commonmark", {"html": False}).render(text)

    def with_anchor(match: re.Match[str]) -> str:
        level, title = match[1], match[2]
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        return f'<h{level} id="{anchor}">{title}</h{level}>'

    return _TEMPLATE.format(body=re.sub(r"<h(\d)>(.*?)</h\1>", with_anchor, html))


if __name__ == "__main__":
    sys.stdout.write(runbook_page(RUNBOOK.read_text()))
