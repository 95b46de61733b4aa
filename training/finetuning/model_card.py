"""A bundle's model card, out of what its manifest says. Knows no network and no scoring."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from model.manifest import Manifest

CARD_FILE = "card.md"


def render_card(manifest: Manifest) -> str:
    """The card as Markdown: what it is, what it learnt from and how, its scores, its limits."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Manifest) -> Iterator[str]:
    said, use = manifest.training, manifest.intended_use
    yield f"# {manifest.name} {manifest.version}"
    yield ""
    yield "Drafts chest X-ray reports for a radiologist to read, correct and sign. Nothing that it"
    yield "writes is a report before a radiologist has signed it."
    if manifest.demonstration:
        yield f"\n**A demonstration: {manifest.notice}**"
    yield "\n## What it is\n"
    yield f"- Made from {manifest.base_model} {manifest.base_revision}".rstrip()
    for adapter in manifest.adapters:
        yield f"- With an adapter merged: {_inline(adapter)}"
    yield f"- Licence: {manifest.licence}"
    yield f"- Prompts: {', '.join(dict.fromkeys((manifest.template, *manifest.templates)))}"
    yield "\n## What it learnt from\n"
    yield f"- Corpus: {said.get('corpus', 'not said')}, {said.get('examples', '?')} examples"
    yield f"- Read as: {_inline(said.get('reading', {}))}"
    yield "\n## How\n"
    yield f"- Settings: {_inline(said.get('settings', {}))}"
    yield f"- Shown: {_inline(said.get('showing', {}))}"
    for name, stage in said.get("stages", {}).items():
        yield f"- {name}: {_inline(stage)}"
    yield "\n![loss by step](losses.png)" if said.get("stages") else ""
    yield "\n## Scores\n"
    if manifest.scores:
        yield "| score | value |\n|---|---|"
        for name, value in manifest.scores.items():
            yield f"| {name} | {_cell(value)} |"
    else:
        yield "None were taken: `nightdraft evaluate` takes them."
    yield "\n## Limits\n"
    yield f"- For {', '.join(use.modalities)} of the {', '.join(use.body_parts).lower()}, patients"
    yield f"  of {use.least_age} years and above, views {', '.join(use.views)}; others are skipped."
    yield "- Scores on a corpus say how it does there. How it does on your films, read by your"
    yield "  radiologists, is for you to measure before anybody relies on it."
    yield "- It can write findings that are not on the film, leave out those that are, and take"
    yield "  left for right, in fluent words."


def _inline(said: dict[str, Any]) -> str:
    told = {key: value for key, value in said.items() if value not in (None, "", [], {})}
    return "; ".join(f"{key} {_cell(value)}" for key, value in told.items()) or "as it comes"


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return value if isinstance(value, str) else json.dumps(value)
