"""The pages of report styles: the list of them, and the form of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.forms import FormFields, validate_form
from api.rendering import render
from api.report_styles.routes import SiteCode, find_own, require_own, save_style
from api.report_styles.schemas import EndRequest, StyleRequest
from records.database.session import snapshot, unit_of_work
from records.database.style_tables import ReportStyle
from records.errors import NotAllowed
from records.report_styles import styles
from records.report_styles.content import (
    MOST_PHRASES,
    MOST_WORDINGS,
    PLAIN,
    SECTIONS,
    WRITTEN_SECTIONS,
    StyleContent,
    StyleRefused,
)
from records.report_styles.styles import Owner, content_of

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

EMPTY_ROWS = 3
"""Rows for new wordings and phrases; who saves gets as many again."""

LABELS = {
    "indication": "Indication",
    "comparison": "Comparison",
    "findings": "Findings",
    "impression": "Impression",
}


@router.get("/report-styles")
def show_styles() -> str:
    """The own style and those of the sites that are shown."""
    with snapshot() as session:
        own = styles.newest(session, owner) if (owner := find_own()) else None
        return render(
            "report_styles.html",
            own=own if own and not own.is_ended else None,
            has_account=owner is not None,
            sites=styles.list_of_sites(session),
            content_of=content_of,
        )


@router.get("/report-styles/own")
def show_own_form() -> str:
    """The form of the own style; where there is none it begins with the site's."""
    return _show_form(None)


@router.post("/report-styles/own")
def post_own_style(fields: FormFields) -> Response:
    """Save the own style, or end it."""
    return _take_form(None, dict(fields))


@router.get("/report-styles/sites/{code}")
def show_site_form(code: SiteCode) -> str:
    """The form of a site's style."""
    return _show_form(code)


@router.post("/report-styles/sites/{code}")
def post_site_style(code: SiteCode, fields: FormFields) -> Response:
    """Save the style of a site, or end it."""
    return _take_form(code, dict(fields))


def _show_form(code: str | None) -> str:
    with snapshot() as session:
        owner = require_own() if code is None else styles.of_site(session, code)
        versions = styles.list_versions(session, owner)
        last = versions[0] if versions else None
        content = content_of(last) if last else None
        if content is None and code is None:
            of_sites = [style for _, style in styles.list_of_sites(session) if style]
            content = content_of(of_sites[0]) if len(of_sites) == 1 else None
    return _render(code, owner, versions, _fields_of(content or PLAIN), last)


def _take_form(code: str | None, given: dict[str, str]) -> Response:
    if given.get("then") == "end":
        request = validate_form(
            EndRequest, {name: given.get(name, "") for name in ("version", "by")}
        )
        with unit_of_work() as session:
            owner = require_own() if code is None else styles.of_site(session, code)
            styles.end(session, owner, request.version, request.by)
        return RedirectResponse("/report-styles", status_code=303)
    try:
        body = validate_form(StyleRequest, _values(given))
        with unit_of_work() as session:
            save_style(session, code, body)
    except RequestValidationError as error:
        return HTMLResponse(_show_again(code, given, _faults(error)), 400)
    except NotAllowed as error:
        return HTMLResponse(_show_again(code, given, _faults(error)), 409)
    place = "own" if code is None else f"sites/{code}"
    return RedirectResponse(f"/report-styles/{place}#versions", status_code=303)


def _faults(error: NotAllowed | RequestValidationError) -> list[str]:
    if isinstance(error, StyleRefused):
        return list(error.faults)
    if isinstance(error, NotAllowed):
        sentence = str(error)
        return [f"{sentence[:1].upper()}{sentence[1:]}."]
    return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}." for one in error.errors()]


def _show_again(code: str | None, given: Mapping[str, str], faults: list[str]) -> str:
    """The form with everything that was typed, and what is wrong with it."""
    with snapshot() as session:
        owner = require_own() if code is None else styles.of_site(session, code)
        versions = styles.list_versions(session, owner)
    last = versions[0] if versions else None
    return _render(code, owner, versions, given, last, faults=faults)


def _render(
    code: str | None,
    owner: Owner,
    versions: Any,
    given: Mapping[str, str],
    last: ReportStyle | None,
    faults: list[str] | None = None,
) -> str:
    return render(
        "report_style.html",
        code=code,
        owner=owner,
        versions=versions,
        given=given,
        version=given.get("version", last.version if last else 0),
        is_in_force=last is not None and not last.is_ended,
        faults=faults or [],
        sections=SECTIONS,
        written=WRITTEN_SECTIONS,
        labels=LABELS,
        wordings=_rows(given, "model", MOST_WORDINGS),
        phrases=_rows(given, "title", MOST_PHRASES),
        content_of=content_of,
    )


def _rows(given: Mapping[str, str], field: str, most: int) -> range:
    """The numbers of rows that have something, and some empty ones."""
    other = {"model": "house", "title": "text"}[field]
    used = [
        number
        for number in range(most)
        if given.get(f"{field}-{number}") or given.get(f"{other}-{number}")
    ]
    return range(min(most, max(used, default=-1) + 1 + EMPTY_ROWS))


def _fields_of(content: StyleContent) -> dict[str, str]:
    """The fields of the form that show a style."""
    fields = {"name": content.name}
    for place, shown in enumerate(content.sections, start=1):
        fields[f"heading-{shown.section}"] = shown.heading
        fields[f"place-{shown.section}"] = str(place)
    for number, wording in enumerate(content.wordings):
        fields |= {f"model-{number}": wording.model, f"house-{number}": wording.house}
    for number, phrase in enumerate(content.phrases):
        fields |= {f"title-{number}": phrase.title, f"text-{number}": phrase.text}
    return fields


def _values(given: Mapping[str, str]) -> dict[str, Any]:
    """What the form says, as the call takes it; rows that were left empty are none."""
    shown = [name for name in SECTIONS if given.get(f"place-{name}") or name in WRITTEN_SECTIONS]
    shown.sort(key=lambda name: (given.get(f"place-{name}") or "9", SECTIONS.index(name)))
    return {
        "name": given.get("name", ""),
        "version": given.get("version", "0"),
        "by": given.get("by", ""),
        "sections": [
            {"section": name, "heading": given.get(f"heading-{name}") or LABELS[name]}
            for name in shown
        ],
        "wordings": _pairs(given, "model", "house", MOST_WORDINGS),
        "phrases": _pairs(given, "title", "text", MOST_PHRASES),
    }


def _pairs(given: Mapping[str, str], first: str, second: str, most: int) -> list[dict[str, str]]:
    pairs = (
        {name: given.get(f"{name}-{number}", "") for name in (first, second)}
        for number in range(most)
    )
    return [pair for pair in pairs if any(pair.values())]
