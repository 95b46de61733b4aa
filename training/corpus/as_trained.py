"""Reads a corpus as a bundle read it in training, so that no bundle is scored on training studies.

Which studies are in the test split depends on the split and, where that is random, on the seed. A
bundle's manifest records how its corpus was read, and an evaluation reads the corpus the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model.manifest import Manifest
from records.errors import CorpusError
from training.corpus.example import CorpusOptions
from training.corpus.folder import FOLDER_SPLITS
from training.corpus.iu_xray import IU_SPLITS
from training.corpus.mimic_cxr import MIMIC_SPLITS

SPLITS_OFFERED: Mapping[str, tuple[str, ...]] = {
    "iu_xray": IU_SPLITS,
    "mimic_cxr": MIMIC_SPLITS,
    "folder": FOLDER_SPLITS,
    "signed": ("patients",),
}
"""The splits of a corpus, its default first. Phantoms have none: held-out seeds train nobody."""
RANDOM_SPLITS = ("paper", "patients", "given")
"""Splits that depend on the seed; "given" does for the patients that have no split."""


def options_as_trained(
    corpus: str, bundles: Sequence[Manifest], overrides: dict[str, Any]
) -> CorpusOptions:
    """Return how to read a corpus to score these bundles.

    Args:
        corpus: The corpus's name.
        bundles: The manifests of the bundles that are scored.
        overrides: The fields of `CorpusOptions` that the user set; the others are as the first of
            the bundles that was trained on this corpus read it.

    Raises:
        CorpusError: a bundle was trained on studies that would be in the test split.
    """
    trained = [
        (bundle, options)
        for bundle in bundles
        if (options := training_options(bundle, corpus)) is not None
    ]
    chosen = replace(trained[0][1] if trained else CorpusOptions(), **overrides)
    for bundle, options in trained:
        if _test_split(corpus, options) != _test_split(corpus, chosen):
            raise CorpusError(
                f"{bundle.name} {bundle.version} was trained on {corpus} with "
                f"{_describe_split(corpus, options)}; with {_describe_split(corpus, chosen)} it "
                "would be scored on studies that it was trained on: give --split and --seed as in "
                "its training, or leave them out"
            )
    return chosen


def training_options(manifest: Manifest, corpus: str) -> CorpusOptions | None:
    """Return how a bundle read a corpus in its training; None if it was trained on another one.

    Raises:
        CorpusError: the manifest records options that this version does not know.
    """
    name = str(manifest.training.get("corpus", "")).partition(":")[0]
    recorded = manifest.training.get("reading")
    if name != corpus or not isinstance(recorded, dict):
        return None
    try:
        return CorpusOptions(**recorded)
    except TypeError as error:
        raise CorpusError(
            f"the manifest of {manifest.name} {manifest.version} does not say how its corpus was "
            "read in a way that this version knows"
        ) from error


def _test_split(corpus: str, options: CorpusOptions) -> tuple[str, int]:
    """Return what the test split depends on: the split's name, and its seed if it is random."""
    offered = SPLITS_OFFERED.get(corpus, ())
    split = options.split or next(iter(offered), "")
    return split, options.seed if split in RANDOM_SPLITS else 0


def _describe_split(corpus: str, options: CorpusOptions) -> str:
    split, _ = _test_split(corpus, options)
    seed = f" and the seed {options.seed}" if split in RANDOM_SPLITS else ""
    return f"the split {split!r}{seed}"
