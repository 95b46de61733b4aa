"""How to read a corpus so that no bundle is scored on what it learnt from. Knows no reader's files.

Which studies are of the test split depends on the split and, where that is drawn, on the seed. So a
bundle's manifest says how its corpus was read, and whoever scores it reads the corpus alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model.manifest import Manifest
from records.errors import CorpusError
from training.corpus.example import CorpusOptions
from training.corpus.iu_xray import IU_SPLITS
from training.corpus.mimic_cxr import MIMIC_SPLITS

OFFERED: Mapping[str, tuple[str, ...]] = {
    "iu_xray": IU_SPLITS,
    "mimic_cxr": MIMIC_SPLITS,
    "signed": ("patients",),
}
"""The splits of a corpus, its default first. Phantoms have none: held-out seeds are nobody's."""
DRAWN = ("paper", "patients")
"""Splits that are drawn by the seed."""


def options_as_trained(
    corpus: str, bundles: Sequence[Manifest], asked: dict[str, Any]
) -> CorpusOptions:
    """How to read the corpus of that name to score these bundles.

    asked: fields of Reading that somebody asked for; the others are as the bundles were trained.

    Raises:
        CorpusError: a bundle learnt from studies that would be in the test split.
    """
    trained = [(one, was) for one in bundles if (was := training_options(one, corpus)) is not None]
    reading = replace(trained[0][1] if trained else CorpusOptions(), **asked)
    for one, was in trained:
        if _drawn(corpus, was) != _drawn(corpus, reading):
            raise CorpusError(
                f"{one.name} {one.version} learnt from {corpus} with {_words(corpus, was)}; with "
                f"{_words(corpus, reading)} it would be scored on studies that it learnt from: "
                "give --split and --seed as in its training, or leave them out"
            )
    return reading


def training_options(manifest: Manifest, corpus: str) -> CorpusOptions | None:
    """How a bundle read the corpus of that name in its training; None where it learnt elsewhere."""
    name = str(manifest.training.get("corpus", "")).partition(":")[0]
    said = manifest.training.get("reading")
    if name != corpus or not isinstance(said, dict):
        return None
    try:
        return CorpusOptions(**said)
    except TypeError as error:
        raise CorpusError(
            f"the manifest of {manifest.name} {manifest.version} does not say how its corpus was "
            "read in a way that this version knows"
        ) from error


def _drawn(corpus: str, reading: CorpusOptions) -> tuple[str, int]:
    """What the test split depends on."""
    offered = OFFERED.get(corpus, ())
    split = reading.split or next(iter(offered), "")
    return split, reading.seed if split in DRAWN else 0


def _words(corpus: str, reading: CorpusOptions) -> str:
    split, _ = _drawn(corpus, reading)
    return f"the split {split!r}" + (f" and the seed {reading.seed}" if split in DRAWN else "")
