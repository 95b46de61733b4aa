"""Writes a bundle's model card from its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from model.manifest import Manifest

CARD_FILE = "card.md"


def render_card(manifest: Manifest) -> str:
    """The card as Markdown: origin, data, training settings, scores and limits."""
    return "\n".join(_lines(manifest)) + "\n"


def _lines(manifest: Manifest) -> Iterator[str]:
    training, use = manifest.training, manifest.intended_use
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
    corpus, examples = training.get("corpus", "not recorded"), training.get("examples", "?")
    yield f"- Corpus: {corpus}, {examples} examples"
    yield f"- Read as: {_inline(training.get('reading', {}))}"
    yield "\n## How\n"
    yield f"- Settings: {_inline(training.get('settings', {}))}"
    yield f"- Shown: {_inline(training.get('showing', {}))}"
    if predicted := training.get("predicted_priors"):
        yield f"- Predicted priors: {_inline(predicted)}"
    for name, stage in training.get("stages", {}).items():
        yield f"- {name}: {_inline(stage)}"
    yield "\n![loss by step](losses.png)" if training.get("stages") else ""
    if manifest.finding_head:
        yield from _finding_head_lines(manifest.finding_head)
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


def _finding_head_lines(record: dict[str, Any]) -> Iterator[str]:
    calibration = record.get("calibration", {})
    yield "\n## Finding head\n"
    yield "Says which findings of a draft the image model supports; it never changes a draft."
    yield ""
    yield f"- Observations: {', '.join(record.get('observations', ())).lower()}"
    yield f"- Learnt from {record.get('examples', '?')} studies, labelled by {record['labeller']}"
    yield f"- Settings: {_inline(record.get('settings', {}))}"
    yield f"- Held out: {_inline(record.get('scores', {}))}"
    if calibration.get("studies"):
        yield f"- Thresholds from {calibration['studies']} held-out studies, wrong for at most"
        yield f"  {calibration['error_rate']:.0%} of those that have a finding, and of those that"
        yield "  have it not."
    else:
        yield "- Not calibrated: nothing is said of any finding."


def _inline(settings: dict[str, Any]) -> str:
    filled = {key: value for key, value in settings.items() if value not in (None, "", [], {})}
    return "; ".join(f"{key} {_cell(value)}" for key, value in filled.items()) or "as it comes"


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return value if isinstance(value, str) else json.dumps(value)
