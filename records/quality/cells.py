"""What an outcome counts in: the places of the kept numbers, and how an outcome fills them.

A place never changes its meaning, for numbers are kept: new ones are added at the end.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence

from records.states import PeerScore, RejectReason

OBSERVATIONS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
    "No Finding",
)
"""The 14 observations by their names in `model.labels`, in the order in which they are kept."""

NO_FINDING = OBSERVATIONS[-1]
"""What follows from the others, and is no difference of its own."""

SECTIONS = ("findings", "impression")

SMALL_EDIT = 0.1
"""The share of characters that a small edit changes at most; it changes no observation."""

SHARE_BOUNDS = (0.0, 0.0, *(step / 20 for step in range(1, 21)))
"""Bounds of the shares of characters that were changed: none, then steps of 5 %."""

SECOND_BOUNDS = (0.0, *(5 * 1.25**step for step in range(27)), 3600.0)
"""Bounds of the seconds from opening a study to its signature; each class is a quarter longer.

The last class has all that took longer, for nobody reads a film for half an hour.
"""

_SHARES = range(len(SHARE_BOUNDS) - 1)
_SECONDS = range(len(SECOND_BOUNDS) - 1)
NO_REASON = "NOTE"
"""Rejections whose reason stands in a note alone."""
PAIRS = ("both", "draft", "signed", "neither")
"""Which of draft and signed text says that an observation is present, or may be."""

CELLS: tuple[str, ...] = (
    "signed",
    "rejected",
    "unedited",
    "small_edit",
    "labelled",  # signed, and the observations of both texts are known
    "watched",  # counts in the drift: labelled, or rejected for its text
    "differing",  # of those, rejected or signed with other observations
    *(f"{section}:{place}" for section in SECTIONS for place in _SHARES),
    *(f"sign:{place}" for place in _SECONDS),
    *(f"to_draft:{place}" for place in _SECONDS),
    *(f"reject:{reason}" for reason in (*RejectReason, NO_REASON)),
    *(f"says:{place}:{pair}" for place in range(len(OBSERVATIONS)) for pair in PAIRS),
    *(f"peer:{score}" for score in PeerScore),
    "own_text",  # signed, and not made of the draft: no edit of it, and in no acceptance
    "asked",  # drawn for reading without a draft, and shown it before the decision
)
"""What is counted, by its place."""

PLACES = {name: place for place, name in enumerate(CELLS, start=1)}
"""The place of each, from 1 as PostgreSQL counts."""

WATCHED, DIFFERING = PLACES["watched"], PLACES["differing"]


def share_class(changed: int, longest: int) -> int | None:
    """The class of a section's edit; None where neither text has the section."""
    if not longest:
        return None
    return 0 if not changed else max(1, bisect.bisect_left(SHARE_BOUNDS, changed / longest) - 1)


def second_class(seconds: float) -> int:
    """The class of a time in seconds."""
    return min(bisect.bisect_right(SECOND_BOUNDS, seconds) - 1, _SECONDS[-1])


def pair_of(draft: bool, signed: bool) -> str:
    """Which of the two says it."""
    return PAIRS[(0 if signed else 1) if draft else (2 if signed else 3)]


def fill(
    decision: str,
    *,
    is_own_text: bool = False,
    unedited: bool = False,
    small_edit: bool = False,
    distances: Mapping[str, Sequence[int]] | None = None,
    reject_reason: str | None = None,
    seconds: int | None = None,
    seconds_to_draft: int | None = None,
    asked: bool = False,
    says: Mapping[str, tuple[bool, bool]] | None = None,
    scores: Sequence[str] = (),
) -> list[int]:
    """The places in which an outcome counts.

    Args:
        decision: SIGNED or REJECTED.
        is_own_text: whether what was signed was not made of the draft. It has a time and
            observations, and says nothing of how far drafts are accepted or edited.
        unedited: whether it was signed without a change.
        small_edit: whether it was signed with a small one.
        distances: by section, the characters that were changed and those of the longer text.
        reject_reason: why it was rejected, as a stable word.
        seconds: from opening the study to the decision.
        seconds_to_draft: from opening it to the draft, of who reads first.
        asked: whether the draft was shown before the decision to who was drawn to write without it.
        says: by observation, whether the draft and the signed text say it; None where unknown.
        scores: those of second readers.
    """
    if decision == "REJECTED":
        names = ["rejected", f"reject:{reject_reason or NO_REASON}"]
        if reject_reason != RejectReason.POOR_IMAGES:  # the films' fault, and not the draft's
            names += ["watched", "differing"]
    else:
        names = ["signed", *(["unedited"] if unedited else []), *(["small_edit"] * small_edit)]
        names += ["own_text"] * is_own_text
        for section, measured in (distances or {}).items():
            place = share_class(*measured) if section in SECTIONS else None
            if place is not None:
                names.append(f"{section}:{place}")
        if seconds is not None:
            names.append(f"sign:{second_class(seconds)}")
        if says:
            names += ["labelled", *(["watched"] * (not is_own_text))]
            names += [
                f"says:{place}:{pair_of(*says[name])}" for place, name in enumerate(OBSERVATIONS)
            ]
            if differ(says) and not is_own_text:
                names.append("differing")
    if seconds_to_draft is not None:
        names.append(f"to_draft:{second_class(seconds_to_draft)}")
    names += ["asked"] * asked
    names += [f"peer:{score}" for score in scores]
    return [PLACES[name] for name in names]


def differ(says: Mapping[str, tuple[bool, bool]]) -> bool:
    """Whether draft and signed text say other observations."""
    return any(draft != signed for name, (draft, signed) in says.items() if name != NO_FINDING)
