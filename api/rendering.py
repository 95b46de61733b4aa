"""Renders the pages' templates, and words values for people.

Everything is escaped: patients' names, indications and drafts are untrusted text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from api.access.cookies import FORM_FIELD
from api.access.table import explain, find_row, home_of, may_open
from api.access.visitor import current_visitor
from api.date_wording import clock_time, date_time, day, dicom_date, iso_time, short_time
from api.order_wording import (
    FIELD_LABELS,
    MATCH_SENTENCES,
    ORIGIN_LABELS,
    PATIENT_LABELS,
    TEXT_LABELS,
    describe_cause,
    describe_change,
    describe_value,
)
from api.static_files import static_address
from model.dicom.characters import remove_controls
from model.dicom.names import modality_name, uid_name
from model.prompting.prompt import describe_given, read_prior
from records.emergency_grants import current_grants, grant_of
from records.operations.lights import LightState
from records.settings import settings
from records.states import (
    BYTES_REMOVED_SENTENCE,
    DAMAGE_SENTENCES,
    DRAFT_USE_SENTENCES,
    OWN_TEXT_WARNING,
    WARNING,
    WITHHELD_SENTENCES,
    WITHOUT_DRAFT_SENTENCE,
    VisibleState,
)
from records.workflow.site_scope import shows, visible_sites

PACKAGE_DIR = Path(__file__).parent

STATE_SENTENCES: dict[VisibleState, str] = {
    VisibleState.RECEIVING: "Images are still coming.",
    VisibleState.HELD: "A person must decide before it goes on.",
    VisibleState.WAITING: "It waits to be prepared.",
    VisibleState.PREPARING: "Its images are being prepared.",
    VisibleState.PREPARED: "It is ready and waits for the model.",
    VisibleState.DRAFTING: "The model is reading it.",
    VisibleState.DRAFTED: "A draft can be read. It is not a report.",
    VisibleState.SKIPPED: "It has no film for this model. A person reads it without a draft.",
    VisibleState.FAILED: "It could not be drafted. A person reads it without a draft.",
    VisibleState.CANCELLED: "A person decided against a draft.",
}
"""What each state means to a reader."""

LIGHT_MARKS: dict[LightState, str] = {
    LightState.UP: "●",
    LightState.WARNING: "▲",
    LightState.DOWN: "✕",
    LightState.ENDED: "■",
    LightState.UNKNOWN: "?",
}
"""The sign before each light, for who cannot tell the colours apart."""

REPORTED_ELSEWHERE_SENTENCE = (
    "Another system sent the final report of this study, so it has no draft any more."
)
"""What CANCELLED means where no person decided against a draft."""

NAVIGATION = (
    ("/", "worklist", "Worklist"),
    ("/tonight", "tonight", "Tonight"),
    ("/campaigns", "campaigns", "Campaigns"),
    ("/holds", "holds", "Held"),
    ("/orders", "orders", "Orders"),
    ("/messages", "messages", "Messages"),
    ("/refusals", "refusals", "Refused"),
    ("/quality", "quality", "Quality"),
    ("/models", "models", "Models"),
    ("/trail", "trail", "Trail"),
    ("/runbook", "runbook", "Runbook"),
    ("/api/docs", "api", "REST"),
)
"""The pages in the head of every page: address, name, and what is read."""

RETRY_LABELS: dict[VisibleState, str] = {
    VisibleState.FAILED: "Draft it again",
    VisibleState.SKIPPED: "Look at it again",
    VisibleState.CANCELLED: "Draft it after all",
}
"""The button that takes an ended study up again, by the states that allow it."""


def person_name(name: str) -> str:
    """A Person Name (PS3.5, 6.2.1) for people: `MEIER^ANNA^^DR` is `MEIER, ANNA (DR)`."""
    groups = []
    for group in name.split("="):
        family, given, middle, prefix, suffix = ([*group.split("^"), "", "", "", "", ""])[:5]
        given_names = " ".join(part.strip() for part in (given, middle) if part.strip())
        titles = " ".join(part.strip() for part in (prefix, suffix) if part.strip())
        full_name = ", ".join(part for part in (family.strip(), given_names) if part)
        groups.append(f"{full_name} ({titles})" if titles and full_name else full_name or titles)
    return " / ".join(group for group in groups if group)


def duration(seconds: float) -> str:
    """About how long: `40 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def waited(seconds: float) -> str:
    """For how long something has waited: as `duration`, and `5 d` from two days on."""
    return duration(seconds) if seconds < 172_800 else f"{seconds // 86_400:.0f} d"


def plain(value: str) -> str:
    """A stable value of ours for people: `needed_view_missing` is `needed view missing`."""
    return value.replace("_", " ").casefold()


def describe_view(view: Mapping[str, Any]) -> str:
    """Which view the model took a film for, and how sure that is, in one sentence.

    Args:
        view: one of a draft's `views`; drafts of earlier versions have no `contradicted`.
    """
    if view["position"] == "unknown":
        return "The header does not say enough to know which view this is."
    contradicted = view.get("contradicted")
    if contradicted is None:
        how_sure = "The header makes it at least 95% sure."
    elif contradicted:
        how_sure = "At least 95% sure, but something in the header speaks against it."
    else:
        how_sure = "At least 95% sure, and nothing in the header speaks against it."
    return f"{view['position'].capitalize()} view. {how_sure}"


def describe_distance(numbers: Sequence[int]) -> str:
    """How much of a section differs: characters to change, of those of the longer text."""
    changed, longer = numbers
    return f"{100 * changed / longer:.0f}%" if longer else "0%"


def differing_observations(observations: Mapping[str, Sequence[str]]) -> list[str]:
    """The observations about which a draft and a report do not say the same."""
    return [name.lower() for name, (draft, report) in observations.items() if draft != report]


def named_uid(uid: str) -> str | Markup:
    """A SOP class, transfer syntax or service by its name, with the UID as its tooltip."""
    name = uid_name(uid)
    if name == uid:
        return uid
    return Markup('<abbr title="{}">{}</abbr>').format(uid, name)


def named_modality(code: str) -> str | Markup:
    """A modality as sent, with its name as the tooltip."""
    name = modality_name(code)
    return Markup('<abbr title="{}">{}</abbr>').format(name, code) if name else code


def with_code(text: str) -> Markup:
    """A sentence of ours with what stands between backticks as code."""
    parts = str(escape(remove_controls(text))).split("`")
    marked = (f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
    return Markup("".join(marked)) if len(parts) % 2 else escape(text)  # noqa: S704  # escaped above


_TEMPLATES = Environment(
    loader=FileSystemLoader(PACKAGE_DIR / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    # Rows of earlier versions, and what readers type, may hold what a header must not.
    finalize=lambda value: remove_controls(value) if type(value) is str else value,
)
_TEMPLATES.filters |= {
    "person_name": person_name,
    "day": day,
    "dicom_date": dicom_date,
    "date_time": date_time,
    "short_time": short_time,
    "clock_time": clock_time,
    "iso_time": iso_time,
    "duration": duration,
    "waited": waited,
    "named_uid": named_uid,
    "named_modality": named_modality,
    "with_code": with_code,
    "plain": plain,
}
_TEMPLATES.globals |= {
    "read_prior": read_prior,
    "describe_given": describe_given,
    "describe_distance": describe_distance,
    "describe_view": describe_view,
    "differing_observations": differing_observations,
    "describe_cause": describe_cause,
    "describe_change": describe_change,
    "describe_value": describe_value,
    "FIELD_LABELS": FIELD_LABELS,
    "MATCH_SENTENCES": MATCH_SENTENCES,
    "ORIGIN_LABELS": ORIGIN_LABELS,
    "PATIENT_LABELS": PATIENT_LABELS,
    "TEXT_LABELS": TEXT_LABELS,
    "WARNING": WARNING,
    "OWN_TEXT_WARNING": OWN_TEXT_WARNING,
    "WITHHELD_SENTENCES": WITHHELD_SENTENCES,
    "WITHOUT_DRAFT_SENTENCE": WITHOUT_DRAFT_SENTENCE,
    "DRAFT_USE_SENTENCES": DRAFT_USE_SENTENCES,
    "NAVIGATION": NAVIGATION,
    "BYTES_REMOVED_SENTENCE": BYTES_REMOVED_SENTENCE,
    "DAMAGE_SENTENCES": DAMAGE_SENTENCES,
    "STATE_SENTENCES": STATE_SENTENCES,
    "LIGHT_MARKS": LIGHT_MARKS,
    "RETRY_LABELS": RETRY_LABELS,
    "REPORTED_ELSEWHERE_SENTENCE": REPORTED_ELSEWHERE_SENTENCE,
}


def form_token() -> Markup:
    """The hidden field of a form that changes something; nothing where nobody is logged in."""
    visitor = current_visitor()
    if visitor is None or not visitor.form_token:
        return Markup()
    return Markup('<input type="hidden" name="{}" value="{}">').format(
        FORM_FIELD, visitor.form_token
    )


def may(address: str, method: str = "GET") -> bool:
    """Whether who asks may open a page or send a form; as `api.access.table.may_open` takes it."""
    return may_open(address, current_visitor(), method)


def link(address: str, text: str | Markup, **attributes: str) -> Markup:
    """A link to a page of ours; the words alone where who asks may not open it.

    Args:
        address: path, query and fragment.
        text: what is read.
        attributes: further ones of the element, as `id`; those that are "" are left out.
    """
    words = text if isinstance(text, Markup) else escape(remove_controls(text))
    given = {key: one for key, one in attributes.items() if one}
    given |= {"href": address} if may(address) else {}
    if not given:
        return words
    name = "a" if "href" in given else "span"
    written = Markup("").join(Markup(' {}="{}"').format(key, one) for key, one in given.items())
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, words)


def who_may(address: str, method: str = "POST") -> str:
    """Who may do what the one who asks may not, as a sentence."""
    row, visitor = find_row(address, method), current_visitor()
    return explain(row, visitor) if row is not None and visitor is not None else ""


def home() -> str:
    """The first page of who asks; "/" where that is not known, "" for a program without one."""
    visitor = current_visitor()
    if visitor is None:
        return "/"
    address = home_of(visitor)
    return address if may(address) else ""


def may_open_emergencies() -> bool:
    """Whether who asks may open patients of sites that he or she does not see."""
    visitor = current_visitor()
    is_limited = visitor is not None and visitor.site_ids is not None
    return is_limited and may_open("/emergency", visitor)


_TEMPLATES.globals |= {
    "static_address": static_address,
    "form_token": form_token,
    "home": home,
    "link": link,
    "may": may,
    "visitor": current_visitor,
    "shows_site": shows,
    "is_limited": lambda: visible_sites() is not None,
    "may_open_emergencies": may_open_emergencies,
    "grants": current_grants,
    "grant_of": grant_of,
    "who_may": who_may,
    "lock_seconds": lambda: round(60 * settings().screen_lock_minutes),
}


def render(template: str, **values: Any) -> str:
    """Render a template of `templates/`; everything in the values is escaped."""
    return _TEMPLATES.get_template(template).render(**values)
