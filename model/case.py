"""What the model reads (Case) and what it writes (DraftText). Knows no DICOM, no torch, no rows.

A Case packs into a few hundred kilobytes at most, so that a study prepared on arrival waits for
the night as one small file.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.errors import CaseError

MAX_VIEWS = 3
"""A case has one to three views (frontal first, then lateral)."""


@dataclass(frozen=True, slots=True)
class View:
    """One film as the network wants it.

    pixels: (S, S) uint8, 0 black to 255 white, air dark (MONOCHROME2).
    position: "frontal", "lateral" or "unknown".
    source: the caller's own id of the film; opaque here.
    """

    pixels: NDArray[np.uint8]
    position: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Priors:
    """What is known before the film is read; an empty string has nothing to say."""

    indication: str = ""
    procedure: str = ""
    prior_report: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One study as the model reads it. `key` is the caller's own id and comes back on the draft."""

    key: str
    views: tuple[View, ...]
    priors: Priors = field(default_factory=Priors)


@dataclass(frozen=True, slots=True)
class DraftText:
    """What the model wrote for the case `key`.

    text: the whole report as generated; findings and impression: its sections ("" where absent).
    prompt: the exact instruction given. tokens and logprobs: one each per new token, natural log,
    the end of text not counted. seconds: by stage ("generate", ...). dtype, device: as run.
    cut: the text reached the limit on new tokens and ends unfinished. rerun: the number format in
    which the study was run again, for half precision gave no numbers; "" where it was not.
    """

    key: str
    text: str
    findings: str
    impression: str
    prompt: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    seconds: dict[str, float]
    device: str
    dtype: str
    cut: bool = False
    rerun: str = ""


@dataclass(frozen=True, slots=True)
class FailedCase:
    """The case `key` could not be drafted; its batch mates were."""

    key: str
    error: Exception


def pack(case: Case) -> bytes:
    """The case as one npz file without pickles; `unpack` gives it back."""
    words = {
        "key": case.key,
        "views": [{"position": v.position, "source": v.source} for v in case.views],
        "priors": asdict(case.priors),
    }
    out = io.BytesIO()
    np.savez(
        out,
        words=np.frombuffer(json.dumps(words).encode(), dtype=np.uint8),
        pixels=np.stack([v.pixels for v in case.views]),  # (V, S, S)
    )
    return out.getvalue()


def unpack(packed: bytes) -> Case:
    """The case that `pack` wrote.

    Raises:
        CaseError: the bytes are not a packed case (cut off, damaged).
    """
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            words = json.loads(archive["words"].tobytes())
            pixels = archive["pixels"]
        views = tuple(
            View(np.ascontiguousarray(image), view["position"], view["source"])
            for image, view in zip(pixels, words["views"], strict=True)
        )
        return Case(words["key"], views, Priors(**words["priors"]))
    except Exception as error:
        raise CaseError("the prepared input is damaged; prepare the study again") from error
