"""One precedence of all texts that may say why an examination was requested.

Texts come from orders (HL7, FHIR, REST, files), from a worklist that was asked, and from the films'
headers. All are untrusted. Every text is kept with where and when it came from, so that a page can
show what was taken and what was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from records.database.order_tables import Order
from records.received_text import MAX_TEXT
from records.states import OrderTextSource, Origin

NONE = "none"
"""The source of a draft whose study has no indication."""

ORDER_SOURCES = tuple(source.value for source in OrderTextSource)
"""Texts of an order by HL7, FHIR, REST or a file."""

WORKLIST_SOURCES = tuple(name.replace("order_", "worklist_") for name in ORDER_SOURCES)
"""Texts of an order that a worklist answered with."""

HEADER_SOURCES = (
    "request_reason",
    "request_reason_code",
    "request_comments",
    "reason",
    "reason_code",
    "reason_for_study",
    "patient_history",
    "admitting_diagnosis",
    "admitting_diagnosis_code",
)
"""Texts of a header: model.dicom.indication.INDICATION_SOURCES, which this floor may not import."""

PRECEDENCE = (*ORDER_SOURCES, *WORKLIST_SOURCES, *HEADER_SOURCES)
"""All sources, best first; the first that is not empty is taken.

NIGHTDRAFT_INDICATION_SOURCES sets a site's own order.
"""

LABELS = {"order_diagnosis": "diagnosis", "worklist_diagnosis": "admitting diagnosis"}
"""What a draft calls an order's text that is no indication in the strict sense."""

_LO_LIMIT = 64  # PS3.5 table 6.2-1; senders cut longer texts there
_WORKLIST_LO = ("worklist_reason", "worklist_reason_code", "worklist_diagnosis")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text that may be the indication.

    Attributes:
        source: its name in PRECEDENCE.
        text: the text, without control characters.
        at: when it was received, in ISO 8601; "" where that is not known.
        origin: by which interface its order came; "" where it is a header's.
        sender: who sent its order; "" where it is a header's.
        order_id: our id of its order; "" where it is a header's.
        label: what the draft calls it where it is no indication in the strict sense, or "".
        cut: whether it fills its field, so that it may be cut short.
        taken: whether it is, or is a part of, the indication.
    """

    source: str
    text: str
    at: str = ""
    origin: str = ""
    sender: str = ""
    order_id: str = ""
    label: str = ""
    cut: bool = False
    taken: bool = False


@dataclass(frozen=True, slots=True)
class Indication:
    """Why an examination was requested, and every text that could have said it.

    Attributes:
        text: the text; "" where there is none.
        source: its name in PRECEDENCE, or NONE.
        candidates: all texts, best first; those that were taken say so.
    """

    text: str
    source: str
    candidates: tuple[Candidate, ...]

    @property
    def taken(self) -> list[Candidate]:
        """The texts that the indication is made of."""
        return [candidate for candidate in self.candidates if candidate.taken]

    def as_json(self) -> list[dict[str, Any]]:
        """The candidates, as request and draft keep them."""
        return [asdict(candidate) for candidate in self.candidates]


def order_candidates(orders: Sequence[Order]) -> list[Candidate]:
    """The texts of orders, in the sequence of the orders; a text twice in one order is one."""
    candidates = []
    for order in orders:
        for source, texts in _texts_by_source(order).items():
            text = "; ".join(dict.fromkeys(texts))
            is_worklist = order.origin == Origin.WORKLIST
            name = source.replace("order_", "worklist_") if is_worklist else source
            limit = _LO_LIMIT if name in _WORKLIST_LO else MAX_TEXT
            candidates.append(
                Candidate(
                    source=name,
                    text=text[:MAX_TEXT],
                    at=order.changed_at.isoformat(),
                    origin=order.origin,
                    sender=order.sender,
                    order_id=str(order.id),
                    label=LABELS.get(name, ""),
                    cut=max(map(len, texts)) >= limit,
                )
            )
    return candidates


def stored_candidates(stored: Sequence[dict[str, Any]] | None) -> list[Candidate]:
    """The candidates that a request or a draft keeps."""
    return [Candidate(**fields) for fields in stored or ()]


def choose(candidates: Sequence[Candidate], order: Sequence[str] = ()) -> Indication:
    """Choose the indication.

    The best source that has a text decides whether orders, a worklist or a header is taken. Of a
    header it is that text alone. Of several orders each gives its best text, and these are joined,
    the best source first and then the newest order: a study that answers two requests answers two
    questions, and the newer request does not take the older one back. A text that says the same as
    one before is left out.

    Args:
        candidates: all texts; those of newer orders before those of older ones.
        order: a site's own order; sources that it does not name are not taken. Empty is PRECEDENCE.
    """
    ranks = {name: rank for rank, name in enumerate(order or PRECEDENCE)}
    last = len(ranks)
    # Sorting keeps the newer order's text before the older one's of the same source.
    ranked = sorted(
        (replace(candidate, taken=False) for candidate in candidates if candidate.text.strip()),
        key=lambda candidate: ranks.get(candidate.source, last),
    )
    if not ranked or ranked[0].source not in ranks:
        return Indication("", NONE, tuple(ranked))
    best = ranked[0]
    chosen: dict[str, int] = {}  # the place of the best text of each order
    if best.order_id:
        for place, candidate in enumerate(ranked):
            if candidate.source in ranks and _group(candidate) == _group(best):
                chosen.setdefault(candidate.order_id, place)
    else:
        chosen[""] = 0
    texts: dict[str, str] = {}
    for place in sorted(chosen.values()):
        plain = " ".join(ranked[place].text.casefold().split())
        if plain not in texts:
            texts[plain] = ranked[place].text
            ranked[place] = replace(ranked[place], taken=True)
    return Indication("; ".join(texts.values()), best.source, tuple(ranked))


def _texts_by_source(order: Order) -> dict[str, list[str]]:
    by_source: dict[str, list[str]] = {}
    for text in order.texts:
        if text["text"].strip():
            by_source.setdefault(text["source"], []).append(text["text"])
    return by_source


def _group(candidate: Candidate) -> str:
    """Whose text it is: an order's, a worklist's or a header's."""
    for name, sources in (("order", ORDER_SOURCES), ("worklist", WORKLIST_SOURCES)):
        if candidate.source in sources:
            return name
    return "header"
