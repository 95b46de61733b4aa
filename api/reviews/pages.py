"""The forms of the editor on the study page, and the page that signs.

static/editor.js saves while somebody types. Without it everything works too: each form carries the
version of the text that it shows.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.forms import FormFields, validate_form
from api.readers import account_id, hides, reader_of, require_recent_login, require_shown
from api.rendering import render
from api.reviews.editor import begin_reading, differences, load_editor
from api.reviews.routes import current_draft, draft_of, report_of
from api.reviews.schemas import (
    AddendumRequest,
    CountersignRequest,
    Note,
    RejectRequest,
    SectionText,
    SignRequest,
    Version,
)
from api.reviews.text_checks import check_text
from api.schemas import Decider
from api.studies import load_study
from records.database.draft_tables import Draft
from records.database.session import snapshot, unit_of_work
from records.database.style_tables import ReportStyle
from records.errors import NotAllowed
from records.report_styles.applying import Replacement, take_back
from records.report_styles.content import WRITTEN_SECTIONS
from records.reviews import readings, signing, styled_reports, working_texts
from records.reviews.readers import Reader
from records.reviews.working_texts import HiddenText, StaleText, Text
from records.states import TextState

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


class _TextForm(BaseModel):
    """The form of the editor; `then` is the button that was pressed.

    style: of version 0. restore: the number of a house wording that gives way to the model's.
    began_empty: it was written without the draft, and comes in the place of another text.
    """

    draft: uuid.UUID
    version: Version
    findings: SectionText = ""  # a browser's form leaves out what is empty
    impression: SectionText = ""
    note: Note = ""
    by: Decider = ""
    then: Literal["save", "sign", "submit", "second", "discard", "show"] = "save"
    style: uuid.UUID | None = None
    restore: Annotated[int, Field(ge=0, le=1000)] | None = None
    began_empty: bool = False


@router.post("/studies/{study}/text")
def post_text(study: uuid.UUID, fields: FormFields) -> Response:
    """Save what was written, and go on as the button says."""
    form = validate_form(_TextForm, dict(fields))
    reader = reader_of(form.by)
    try:
        with unit_of_work() as session:
            draft = draft_of(session, str(study), form.draft)
            if form.then == "discard":
                working_texts.discard(session, draft.id, form.version, reader)
            else:
                text = working_texts.save(
                    session,
                    draft.id,
                    form.version,
                    form.findings,
                    form.impression,
                    reader,
                    form.style,
                    began_empty=form.began_empty,
                )
                if form.restore is not None:
                    _restore(session, draft, text, form, reader)
                to = {"submit": TextState.SUBMITTED, "second": TextState.SECOND_READER}
                if form.then in to:
                    working_texts.send_on(
                        session,
                        draft.id,
                        text.version,
                        to[form.then],
                        reader,
                        form.note,
                        form.style,
                    )
    except StaleText as error:
        page = render(
            "conflict.html", study=study, mine=form, theirs=error.current, hidden_because=None
        )
        return HTMLResponse(page, 409)
    except HiddenText as error:
        return _keep_hidden(study, form, error)
    if form.then == "show":
        return post_show_draft(study)
    return _redirect_to(study, "/sign" if form.then == "sign" else "#editor")


def _keep_hidden(study: uuid.UUID, form: _TextForm, error: HiddenText) -> Response:
    """What was written stays on the page where another text may not be seen yet.

    With the draft, if the reader asks for it, both texts are shown.
    """
    theirs = None
    if form.then == "show":
        try:
            with unit_of_work() as session:
                draft = draft_of(session, str(study), form.draft)
                readings.show_draft(session, draft, _logged_in())
                theirs = working_texts.read(session, draft, account_id())
        except NotAllowed as refused:
            error = HiddenText(str(refused))
    page = render("conflict.html", study=study, mine=form, theirs=theirs, hidden_because=error)
    return HTMLResponse(page, 409)


def _logged_in() -> uuid.UUID:
    account = account_id()
    assert account is not None  # nothing is hidden from who is not logged in
    return account


def _restore(session: Session, draft: Draft, text: Text, form: _TextForm, reader: Reader) -> None:
    """Put the model's own sentence in the place of the house's."""
    standing = _list_standing(session, draft, text)
    chosen = next((each for each in standing if each.number == form.restore), None)
    if chosen is None:
        return  # it stands there no more
    sections = {name: getattr(text, name) for name in WRITTEN_SECTIONS}
    sections[chosen.section] = take_back(sections[chosen.section], chosen)
    working_texts.save(
        session, draft.id, text.version, **sections, reader=reader, style_id=form.style
    )


@router.post("/studies/{study}/show-draft")
def post_show_draft(study: uuid.UUID) -> Response:
    """Show the draft to who has read the films first."""
    with unit_of_work() as session:
        draft = current_draft(session, str(study))
        account = account_id()
        if account is not None:
            readings.show_draft(session, draft, account)
    return _redirect_to(study, "#editor")


@router.get("/studies/{study}/checks")
def show_checks(study: uuid.UUID) -> str:
    """Where a reader should look in the text in work."""
    with snapshot() as session:
        draft = current_draft(session, str(study))
        text = working_texts.read(session, draft, account_id())
        checks = check_text(
            session, draft, text.findings, text.impression, is_hidden=hides(session, draft)
        )
        return render("text_checks.html", checks=checks)


@router.get("/studies/{study}/differences")
def show_differences(study: uuid.UUID) -> str:
    """The words of the draft and of the text in work, in one sequence."""
    with snapshot() as session:
        draft = current_draft(session, str(study))
        require_shown(session, draft)
        text = working_texts.read(session, draft, account_id())
        return render(
            "differences.html",
            differences=differences(draft, text.findings, text.impression),
            house=len(_list_standing(session, draft, text)),
        )


@router.get("/studies/{study}/house-wordings")
def show_house_wordings(study: uuid.UUID) -> str:
    """The sentences of the text in work that its style wrote, each with the model's."""
    with snapshot() as session:
        draft = current_draft(session, str(study))
        require_shown(session, draft)
        text = working_texts.read(session, draft, account_id())
        return render(
            "house_wordings.html",
            style=session.get_one(ReportStyle, text.style_id) if text.style_id else None,
            wordings=_list_standing(session, draft, text),
        )


def _list_standing(session: Session, draft: Draft, text: Text) -> list[Replacement]:
    return styled_reports.list_standing(
        session, draft, text.draft_use, text.style_id, text.findings, text.impression
    )


@router.get("/studies/{study}/sign")
def show_signing(study: uuid.UUID) -> Response:
    """Exactly what would be signed, and the one question."""
    with snapshot() as session:
        require_recent_login(session, f"/studies/{study}/sign")
    begin_reading(str(study))
    with snapshot() as session:
        record = load_study(session, str(study))
        draft = current_draft(session, str(study))
        editor = load_editor(session, record.row.id, draft, record.drafts)
        if editor.report is not None:
            return _redirect_to(study)
        if editor.text is None:
            require_shown(session, draft)
        return HTMLResponse(
            render("sign.html", row=record.row, draft=draft, editor=editor, record=record)
        )


@router.post("/studies/{study}/sign")
def post_signature(study: uuid.UUID, fields: FormFields) -> Response:
    """Sign what the page showed; another text that came meanwhile is shown first."""
    form = validate_form(SignRequest, dict(fields))
    try:
        with unit_of_work() as session:
            draft = draft_of(session, str(study), form.draft)
            require_recent_login(session, f"/studies/{study}/sign")
            signing.sign_text(session, draft.id, form.version, form.sha256, reader_of(form.by))
    except StaleText as error:
        page = render(
            "conflict.html", study=study, mine=None, theirs=error.current, hidden_because=None
        )
        return HTMLResponse(page, 409)
    return _redirect_to(study, "#go-on")  # the link to the next study has the focus: Enter goes on


@router.post("/studies/{study}/reject")
def post_rejection(study: uuid.UUID, fields: FormFields) -> Response:
    """Reject the draft that the page shows."""
    form = validate_form(RejectRequest, dict(fields))
    with unit_of_work() as session:
        draft = draft_of(session, str(study), form.draft)
        require_shown(session, draft)
        signing.reject(session, draft.id, reader_of(form.by), form.note, form.reason)
    return _redirect_to(study, "#editor")


class _AddendumForm(AddendumRequest):
    """The form of an addendum; it names the report."""

    report: uuid.UUID


class _CountersignForm(CountersignRequest):
    """The form of a countersignature; it names the report."""

    report: uuid.UUID


@router.post("/studies/{study}/addendum")
def post_addendum(study: uuid.UUID, fields: FormFields) -> Response:
    """Add something to the signed report."""
    form = validate_form(_AddendumForm, dict(fields))
    with unit_of_work() as session:
        report = report_of(session, str(study), form.report)
        require_recent_login(session, f"/studies/{study}")
        signing.add_addendum(session, report.id, form.text, reader_of(form.by))
    return _redirect_to(study, "#editor")


@router.post("/studies/{study}/countersign")
def post_countersignature(study: uuid.UUID, fields: FormFields) -> Response:
    """Sign the report that somebody else has signed, too."""
    form = validate_form(_CountersignForm, dict(fields))
    with unit_of_work() as session:
        report = report_of(session, str(study), form.report)
        require_recent_login(session, f"/studies/{study}")
        signing.countersign(session, report.id, reader_of(form.by))
    return _redirect_to(study, "#editor")


def _redirect_to(study: uuid.UUID, place: str = "") -> Response:
    return RedirectResponse(f"/studies/{study}{place}", status_code=303)
