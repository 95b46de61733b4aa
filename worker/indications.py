"""Why a study's examination was requested: texts of its orders and of its films' headers.

`records.orders.indications` has the one precedence. This module reads the headers, and says what a
reader of the draft should know of the text that was taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from model.dicom.characters import remove_controls
from model.dicom.evidence import Header
from model.dicom.indication import NOT_PROVIDED, list_indications
from records.errors import SettingsError
from records.orders.indications import NONE, PRECEDENCE, Candidate, Indication, choose
from records.settings import Settings


def check_sources(settings: Settings) -> None:
    """Check the site's own order of texts, before a study is prepared by it.

    Raises:
        SettingsError: it names a source that there is not.
    """
    unknown = [name for name in settings.indication_sources if name not in PRECEDENCE]
    if unknown:
        raise SettingsError(
            f"NIGHTDRAFT_INDICATION_SOURCES: no such source: {', '.join(unknown)}; "
            f"there are {', '.join(PRECEDENCE)}"
        )


def header_candidates(headers: Sequence[Header], received: Sequence[str]) -> list[Candidate]:
    """The texts of a study's headers.

    Args:
        headers: the headers.
        received: when each of them came, in ISO 8601.
    """
    return [
        Candidate(
            source=text.source,
            text=text.text,
            at=received[text.header],
            label=text.label,
            cut=text.cut,
        )
        for text in list_indications(headers)
    ]


def find_indication(
    orders: Sequence[Candidate],
    headers: Sequence[Header],
    received: Sequence[str],
    settings: Settings,
) -> Indication:
    """Choose a study's indication among the texts of its orders and of its headers.

    Where there is none, the text is "Not provided".

    Args:
        orders: the texts of the orders that count, newest order first.
        headers: the headers of the study's films.
        received: when each of them came, in ISO 8601.
        settings: NIGHTDRAFT_INDICATION_SOURCES.
    """
    candidates = [*orders, *header_candidates(headers, received)]
    found = choose(candidates, settings.indication_sources)
    text = remove_controls(found.text)
    return Indication(text or NOT_PROVIDED, found.source if text else NONE, found.candidates)


def notes_about(indication: Indication) -> list[str]:
    """What a reader of the draft should know of its indication."""
    taken = indication.taken
    notes = [
        f"The indication is taken from the {label}."
        for label in dict.fromkeys(text.label for text in taken)
        if label
    ]
    if len(taken) > 1:
        notes.append(f"The indication joins the texts of {len(taken)} orders.")
    if any(text.cut for text in taken):
        notes.append("The indication may be cut short: it fills its field.")
    return notes
