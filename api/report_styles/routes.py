"""REST for report styles: those in force, their versions, and changes of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import StringConstraints
from sqlalchemy.orm import Session

from api.access.visitor import current_visitor
from api.problems import problem_response, problem_responses
from api.report_styles.schemas import EndRequest, Style, StyleList, StyleRequest, StyleVersions
from api.schemas import ONE_LINE
from model.consistency import find_differences
from records.database.session import snapshot, unit_of_work
from records.database.style_tables import ReportStyle
from records.errors import NotAllowed
from records.report_styles import styles
from records.report_styles.content import StyleRefused
from records.report_styles.styles import Owner

router = APIRouter(prefix="/api/report-styles", tags=["report styles"])

SiteCode = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=ONE_LINE)]

_BODY = (400, 403, 404, 409, 411, 413)
_CHANGES = problem_responses(*_BODY)


@router.get("", responses=problem_responses())
def list_styles() -> StyleList:
    """The styles in force: the own one, and those of the sites that are shown."""
    with snapshot() as session:
        own = styles.newest(session, owner) if (owner := find_own()) else None
        return StyleList(
            own=Style.from_row(own, None) if own and not own.is_ended else None,
            sites=[
                Style.from_row(style, site.code)
                for site, style in styles.list_of_sites(session)
                if style is not None
            ],
        )


@router.get("/sites/{code}", responses=problem_responses(404, 409))
def list_site_versions(code: SiteCode) -> StyleVersions:
    """The versions of a site's style, newest first."""
    with snapshot() as session:
        return _versions(session, styles.of_site(session, code), code)


@router.put("/sites/{code}", responses=_CHANGES, response_model=Style)
def save_site_style(request: Request, code: SiteCode, body: StyleRequest) -> Response:
    """Save the style of a site as a new version; 409 with the faults where it is refused."""
    return _save(request, code, body)


@router.post("/sites/{code}/end", responses=_CHANGES)
def end_site_style(code: SiteCode, body: EndRequest) -> StyleVersions:
    """Let a site have no style from now on; its versions stay."""
    with unit_of_work() as session:
        owner = styles.of_site(session, code)
        styles.end(session, owner, body.version, body.by)
        return _versions(session, owner, code)


@router.get("/own", responses=problem_responses(404, 409))
def list_own_versions() -> StyleVersions:
    """The versions of the own style, newest first."""
    with snapshot() as session:
        return _versions(session, require_own(), None)


@router.put("/own", responses=_CHANGES, response_model=Style)
def save_own_style(request: Request, body: StyleRequest) -> Response:
    """Save the own style as a new version; 409 with the faults where it is refused."""
    return _save(request, None, body)


@router.post("/own/end", responses=_CHANGES)
def end_own_style(body: EndRequest) -> StyleVersions:
    """Have no own style from now on: the site's counts; the versions stay."""
    with unit_of_work() as session:
        owner = require_own()
        styles.end(session, owner, body.version, body.by)
        return _versions(session, owner, None)


def find_own() -> Owner | None:
    """The owner of the own style of who asks; None where nobody is logged in."""
    visitor = current_visitor()
    if visitor is None or visitor.session is None:
        return None
    return styles.of_reader(visitor.session.account_id, visitor.session.login)


def require_own() -> Owner:
    """The owner of the own style of who asks.

    Raises:
        NotAllowed: nobody is logged in.
    """
    owner = find_own()
    if owner is None:
        raise NotAllowed("an own style is an account's: log in as a person")
    return owner


def save_style(session: Session, code: str | None, body: StyleRequest) -> ReportStyle:
    """Save a style of a site, or the own one where `code` is None.

    Raises:
        NotFound: there is no such site, or it is not shown to who asks.
        StyleRefused, NotAllowed: as `records.report_styles.styles.save`.
    """
    owner = require_own() if code is None else styles.of_site(session, code)
    return styles.save(session, owner, body.to_content(), body.version, body.by, find_differences)


def _save(request: Request, code: str | None, body: StyleRequest) -> Response:
    try:
        with unit_of_work() as session:
            style = Style.from_row(save_style(session, code, body), code)
    except StyleRefused as error:
        extensions: dict[str, Any] = {"faults": list(error.faults)}
        return problem_response(
            request, 409, "The style was refused", " ".join(error.faults), **extensions
        )
    return JSONResponse(style.model_dump(mode="json"))


def _versions(session: Session, owner: Owner, site: str | None) -> StyleVersions:
    return StyleVersions(
        versions=[Style.from_row(row, site) for row in styles.list_versions(session, owner)]
    )
