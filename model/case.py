"""What the model reads (`Case`) and what it writes (`DraftText`).

A case is packed into a few hundred kilobytes at most, so that a study that is prepared on arrival
waits for the night as one small file.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from model.errors import CaseError

# The command reads the names of observations by way of this module: NumPy would be a fifth of the
# time that each command takes to begin.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_VIEWS = 3
"""A case has one to three views (frontal first, then lateral)."""


@dataclass(frozen=True, slots=True)
class View:
    """One image as the network reads it.

    Attributes:
        pixels: (S, S) uint8, 0 black to 255 white, air dark (MONOCHROME2).
        position: "frontal", "lateral" or "unknown".
        source: The caller's own id of the image.
    """

    pixels: NDArray[np.uint8]
    position: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class Priors:
    """What is known before the images are read; "" where nothing is known."""

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
    """What the model wrote for one case.

    Attributes:
        key: The case's key.
        text: The whole report as generated.
        findings, impression: Its sections; "" where absent.
        prompt: The exact instruction that was given.
        tokens, logprobs: One each per new token, the end of text not counted; natural log.
        seconds: Wall time by stage ("generate", ...).
        device, dtype: Where and in which number format the study was run.
        cut: Whether the text reached the limit on new tokens and ends unfinished.
        rerun: The number format in which the study was run again, because half precision gave a
            value that is not a number; "" where it was not.
        finding_scores: The finding head's probability by observation (model.support); empty where
            the bundle has no finding head.
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
    finding_scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailedCase:
    """The case `key` could not be drafted; the rest of its batch was."""

    key: str
    error: Exception


def pack(case: Case) -> bytes:
    """Pack the case into one npz file without pickles; `unpack` gives it back."""
    import numpy as np

    header = {
        "key": case.key,
        "views": [{"position": v.position, "source": v.source} for v in case.views],
        "priors": asdict(case.priors),
    }
    out = io.BytesIO()
    np.savez(
        out,
        words=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        pixels=np.stack([v.pixels for v in case.views]),  # (V, S, S)
    )
    return out.getvalue()


def unpack(packed: bytes) -> Case:
    """The case that `pack` wrote.

    Raises:
        CaseError: The bytes are not a packed case (cut off, damaged).
    """
    import numpy as np

    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            header = json.loads(archive["words"].tobytes())
            pixels = archive["pixels"]
        views = tuple(
            View(np.ascontiguousarray(image), view["position"], view["source"])
            for image, view in zip(pixels, header["views"], strict=True)
        )
        return Case(header["key"], views, Priors(**header["priors"]))
    except Exception as error:
        raise CaseError("the prepared input is damaged; prepare the study again") from error
