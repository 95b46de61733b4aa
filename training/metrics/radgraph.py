"""Scores drafts by RadGraph F1, where a user has the package and its weights.

RadGraph (Jain et al. 2021, arXiv:2106.14463) reads a report as a graph of entities and relations.
Its weights are for credentialed users (PhysioNet). Neither package nor weights are a dependency,
and nothing is downloaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
from numpy.typing import ArrayLike, NDArray

WEIGHTS = "radgraph.tar.gz"
_LEVEL = "partial"
"""Entities by their tokens and label, and whether each has a relation: the usual "RadGraph F1"."""


@dataclass(frozen=True)
class RadGraphScores:
    """RadGraph F1 of some drafts.

    Attributes:
        cases: F1 of each case, shape (cases,); None where it could not be computed.
        name: Implementation and version.
        note: Why it could not be computed.
    """

    cases: NDArray[np.float64] | None = field(default=None)
    name: str = ""
    note: str = ""

    @property
    def score(self) -> float | None:
        """The mean over cases; None where it could not be computed."""
        return None if self.cases is None else float(self.cases.mean())

    def scores_at(self, indices: ArrayLike) -> dict[str, float]:
        """See `Measurement.scores_at`; empty where there is no score."""
        if self.cases is None:
            return {}
        return {"radgraph_f1": float(self.cases[np.asarray(indices, dtype=np.intp)].mean())}


def score_radgraph(
    hypotheses: Sequence[str], references: Sequence[str], folder: Path | None = None
) -> RadGraphScores:
    """Score drafts against reports by the package `radgraph`, with the weights in a folder.

    Without the package, the weights or offline mode there is no score, and the note says why. So
    it does where the package fails: drafts that took hours are not lost to one score.

    Raises:
        ValueError: there is nothing to score, or the lists differ in length.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} drafts and {len(references)} reports are given; give as many of "
            "one as of the other, and at least one"
        )
    if note := _obstacle(folder):
        return RadGraphScores(note=note)
    try:
        with _scorer(folder) as scorer:
            _, rewards, *_ = scorer(hyps=list(hypotheses), refs=list(references))
        scores = np.array(rewards, dtype=np.float64)
        if scores.shape != (len(hypotheses),):
            raise ValueError(f"{scores.shape} scores of {len(hypotheses)} drafts")
    except Exception as error:  # whatever another's package raises
        return RadGraphScores(note=_failure(error))
    return RadGraphScores(scores, f"RadGraph F1 ({_LEVEL}), radgraph {_version()}")


def check_radgraph(folder: Path) -> str:
    """Return why RadGraph F1 cannot be computed, "" where it can: one sentence is scored.

    It is called before hours of drafting: the archive is opened, and the model is loaded.
    """
    if note := _obstacle(folder):
        return note
    try:
        with tarfile.open(folder / WEIGHTS) as archive:
            if not any(member.isfile() for member in archive):
                return f"RadGraph F1 needs its weights, and {folder / WEIGHTS} is an empty archive"
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        reason = f"{type(error).__name__}: {error}"
        return f"RadGraph F1 needs its weights, and {folder / WEIGHTS} cannot be opened ({reason})"
    sentence = ["No pleural effusion."]
    return score_radgraph(sentence, sentence, folder).note


@contextmanager
def _scorer(folder: Path | None) -> Iterator[Any]:
    """The package's scorer, with the weights of a folder; the package is as before afterwards."""
    inner: Any = importlib.import_module("radgraph.radgraph")
    cache_dir = inner.CACHE_DIR
    inner.CACHE_DIR = str(folder)  # where the package looks before it would download
    try:
        yield inner.F1RadGraph(reward_level=_LEVEL, model_type="radgraph")
    finally:
        inner.CACHE_DIR = cache_dir


def _failure(error: Exception) -> str:
    """What went wrong, in one line; of the package's own error the first line is kept."""
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return (
        f"RadGraph F1 could not be computed ({type(error).__name__}: {first}); its archive or the "
        "text encoder in the local cache may be missing or of another version"
    )


def _obstacle(folder: Path | None) -> str:
    if folder is None:
        return "RadGraph F1 needs its weights, and no folder of them is named"
    if not (folder / WEIGHTS).is_file():
        return f"RadGraph F1 needs its weights, and {folder} holds no {WEIGHTS}"
    if importlib.util.find_spec("radgraph") is None:
        return "RadGraph F1 needs the package radgraph, which is not here; install it"
    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        return (
            "RadGraph F1 is not computed while its package may download; set HF_HUB_OFFLINE=1 and "
            "have the text encoder that its config.json names in the local cache"
        )
    return ""


def _version() -> str:
    try:
        return version("radgraph")
    except PackageNotFoundError:
        return "of unknown version"
