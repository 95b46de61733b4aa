"""REST for working texts and reviews.

A save names the text that it was made from (If-Match, RFC 9110, section 13.1.1). Whatever is sent
a second time, because its answer was lost, changes nothing.
"""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.orm import Session

from api.problems import PROBLEM_RESPONSES, problem_response, problem_responses
from api.readers import account_id, hides, reader_of, require_recent_login, require_shown
from api.reviews.answers import answer_review, answer_text
from api.reviews.schemas import (
    AddendumRequest,
    Check,
    CheckList,
    CountersignRequest,
    Differences,
    DiscardRequest,
    RejectRequest,
    Review,
    ReviewList,
    SendRequest,
    SignRequest,
    TextRequest,
    WorkingText,
    list_words,
)
from api.reviews.text_checks import check_text
from api.schemas import StudyUid
from records.database.draft_tables import Draft
from records.database.review_tables import Review as ReviewRow
from records.database.session import snapshot, unit_of_work
from records.errors import NotFound
from records.reviews import lookup, readings, signing, working_texts
from records.reviews.working_texts import StaleText, Text
from records.states import Purpose
from records.workflow import drafts, studies

router = APIRouter(prefix="/api/studies/{uid}", tags=["reviews"])

IfMatch = Annotated[
    str,
    Header(
        alias="If-Match",
        max_length=100,
        description="The ETag of the text that the change was made from.",
    ),
]

_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OUR_ETAG = re.compile(
    rf'"?(?P<draft>{_ID})-(?P<version>[0-9]{{1,9}})(?P<empty>-empty)?(?:-(?P<style>{_ID}))?"?'
)

WHAT_TO_DO = "Compare both texts, and send yours again with the ETag of the newer one."

_ETAG = {
    "ETag": {"description": "What names exactly this text.", "schema": {"type": "string"}},
}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"headers": _ETAG}}
_BODY = (400, 403, 404, 409, 411, 413)
_CHANGES = problem_responses(*_BODY) | {s: PROBLEM_RESPONSES[s] for s in (412, 428)} | _TEXT
_WRITTEN = problem_responses(*_BODY)


@router.get("/working-text", responses=problem_responses(404, 409) | _TEXT)
def read_working_text(uid: StudyUid, response: Response) -> WorkingText:
    """The text in work on the study's current draft; the draft's own where nobody has written."""
    with snapshot() as session:
        draft = current_draft(session, uid)
        text = working_texts.read(session, draft, account_id())
        response.headers["etag"] = text.etag
        return answer_text(session, text)


@router.get("/working-text/checks", responses=problem_responses(404, 409))
def read_checks(uid: StudyUid) -> CheckList:
    """Where a reader should look in the text in work."""
    with snapshot() as session:
        draft = current_draft(session, uid)
        text = working_texts.read(session, draft, account_id())
        checks = check_text(
            session, draft, text.findings, text.impression, is_hidden=hides(session, draft)
        )
    return CheckList(version=text.version, checks=[Check.model_validate(check) for check in checks])


@router.get("/working-text/differences", responses=problem_responses(404, 409))
def read_differences(uid: StudyUid) -> Differences:
    """The words of the draft and of the text in work, in one sequence."""
    with snapshot() as session:
        draft = current_draft(session, uid)
        require_shown(session, draft)
        text = working_texts.read(session, draft, account_id())
    return Differences(
        version=text.version,
        findings=list_words(draft.findings, text.findings),
        impression=list_words(draft.impression, text.impression),
    )


@router.put("/working-text", responses=_CHANGES, response_model=WorkingText)
def save_working_text(
    request: Request, uid: StudyUid, body: TextRequest, if_match: IfMatch = ""
) -> Response:
    """Save what a reader wrote; 412 with the present text where somebody else saved meanwhile."""

    def save(session: Session, draft: Draft, version: int, style: uuid.UUID | None) -> Text:
        return working_texts.save(
            session, draft.id, version, body.findings, body.impression, reader_of(body.by), style
        )

    return _change(request, uid, if_match, save)


@router.post("/working-text/send", responses=_CHANGES, response_model=WorkingText)
def send_working_text(
    request: Request, uid: StudyUid, body: SendRequest, if_match: IfMatch = ""
) -> Response:
    """Submit the text to who may sign it, or send it to a second reader."""

    def send(session: Session, draft: Draft, version: int, style: uuid.UUID | None) -> Text:
        return working_texts.send_on(
            session, draft.id, version, body.to, reader_of(body.by), body.note, style
        )

    return _change(request, uid, if_match, send)


@router.post("/working-text/discard", responses=_CHANGES, response_model=WorkingText)
def discard_working_text(
    request: Request, uid: StudyUid, body: DiscardRequest, if_match: IfMatch = ""
) -> Response:
    """Give up what was written, and begin again with the draft."""

    def discard(session: Session, draft: Draft, version: int, _: uuid.UUID | None) -> Text:
        return working_texts.discard(session, draft.id, version, reader_of(body.by))

    return _change(request, uid, if_match, discard)


@router.get("/reviews", responses=problem_responses(404))
def list_reviews(uid: StudyUid) -> ReviewList:
    """What readers signed, rejected and added, newest first."""
    with snapshot() as session:
        study = studies.get_by_uid(session, uid)
        return ReviewList(
            reviews=[answer_review(session, row) for row in lookup.list_by_study(session, study.id)]
        )


@router.post("/reviews/show-draft", responses=problem_responses(403, 404, 409))
def show_draft(uid: StudyUid) -> WorkingText:
    """Show the draft, for the films were read. Only who reads first has to ask for it."""
    with unit_of_work() as session:
        draft = current_draft(session, uid)
        account = account_id()
        if account is not None:
            readings.show_draft(session, draft, account)
        return answer_text(session, working_texts.read(session, draft, account))


@router.post("/reviews/sign", responses=_WRITTEN, response_model=Review)
def sign_report(request: Request, uid: StudyUid, body: SignRequest) -> Response:
    """Sign exactly the text that was shown; 409 with the present one where it is another."""
    try:
        with unit_of_work() as session:
            draft = draft_of(session, uid, body.draft)
            require_recent_login(session, f"/studies/{draft.study_id}/sign")
            review_id = signing.sign_text(
                session, draft.id, body.version, body.sha256, reader_of(body.by), body.consent
            )
            return _answer(answer_review(session, session.get_one(ReviewRow, review_id)))
    except StaleText as error:
        return _stale(request, 409, error)


@router.post("/reviews/reject", responses=_WRITTEN)
def reject_draft(uid: StudyUid, body: RejectRequest) -> Review:
    """Reject a draft of which nothing can be used, with the reason."""
    with unit_of_work() as session:
        draft = draft_of(session, uid, body.draft)
        require_shown(session, draft)
        review_id = signing.reject(session, draft.id, reader_of(body.by), body.note, body.reason)
        return answer_review(session, session.get_one(ReviewRow, review_id))


@router.post("/reviews/{review_id}/addendum", responses=_WRITTEN)
def add_addendum(uid: StudyUid, review_id: uuid.UUID, body: AddendumRequest) -> Review:
    """Add something to a signed report, which stays as it was signed."""
    with unit_of_work() as session:
        report = report_of(session, uid, review_id)
        require_recent_login(session, f"/studies/{report.study_id}")
        added = signing.add_addendum(session, report.id, body.text, reader_of(body.by))
        return answer_review(session, session.get_one(ReviewRow, added))


@router.post("/reviews/{review_id}/countersign", responses=_WRITTEN)
def countersign_report(uid: StudyUid, review_id: uuid.UUID, body: CountersignRequest) -> Review:
    """Sign a report that somebody else has signed, too."""
    with unit_of_work() as session:
        report = report_of(session, uid, review_id)
        require_recent_login(session, f"/studies/{report.study_id}")
        signed = signing.countersign(session, report.id, reader_of(body.by))
        return answer_review(session, session.get_one(ReviewRow, signed))


def current_draft(session: Session, uid: str) -> Draft:
    """The draft of a study that a reader is shown.

    Raises:
        NotFound: no such study, or it has no draft.
    """
    study = studies.get_by_uid(session, uid)
    for draft in drafts.list_by_study(session, study.id):
        if draft.purpose == Purpose.PRIMARY and draft.superseded_at is None:
            return draft
    raise NotFound("the study has no draft that could be read")


def draft_of(session: Session, uid: str, draft_id: uuid.UUID) -> Draft:
    """A draft, where it is of that study.

    Raises:
        NotFound: it is not, or there is no such study.
    """
    study = studies.get_by_uid(session, uid)
    draft = session.get(Draft, draft_id)
    if draft is None or draft.study_id != study.id:
        raise NotFound("the study has no draft of that id")
    return draft


def report_of(session: Session, uid: str, review_id: uuid.UUID) -> ReviewRow:
    """A review, where it is of that study.

    Raises:
        NotFound: it is not, or there is no such study.
    """
    study = studies.get_by_uid(session, uid)
    review = session.get(ReviewRow, review_id)
    if review is None or review.study_id != study.id:
        raise NotFound("the study has no report of that id")
    return review


def _change(request: Request, uid: str, if_match: str, change: Any) -> Response:
    if not if_match:
        return problem_response(
            request,
            428,
            "The call does not say which text it was made from, so nothing was saved",
            "Read the text, and send its ETag as If-Match.",
        )
    try:
        with unit_of_work() as session:
            draft = current_draft(session, uid)
            seen = _seen(session, if_match, draft)
            if seen is None:
                raise StaleText(working_texts.read(session, draft, account_id()))
            text = change(session, draft, *seen)
            answer_of_text = answer_text(session, text)
    except StaleText as error:
        return _stale(request, 412, error)
    answer = _answer(answer_of_text)
    answer.headers["etag"] = text.etag
    return answer


def _seen(session: Session, if_match: str, draft: Draft) -> tuple[int, uuid.UUID | None] | None:
    """The version that an ETag of ours names, and of version 0 the style.

    Returns:
        None where it is of another draft, or is no ETag of ours, or where a text begins with
        nothing now and began with the draft then, or the other way round.
    """
    match = _OUR_ETAG.fullmatch(if_match.strip())
    if match is None or match["draft"] != str(draft.id):
        return None
    began_empty = match["empty"] is not None
    if int(match["version"]) == 0 and began_empty != readings.begins_empty(
        session, draft, account_id()
    ):
        return None
    return int(match["version"]), uuid.UUID(match["style"]) if match["style"] else None


def _stale(request: Request, status: int, error: StaleText) -> Response:
    title = str(error)
    with snapshot() as session:
        current = answer_text(session, error.current).model_dump(mode="json")
    response = problem_response(
        request,
        status,
        f"{title[:1].upper()}{title[1:]}",
        WHAT_TO_DO,
        current=current,
    )
    response.headers["etag"] = error.current.etag
    return response


def _answer(model: WorkingText | Review) -> Response:
    return JSONResponse(model.model_dump(mode="json"))
