"""The text that readers write from a draft before one of them signs it.

Each save names the version that it was made from. So two readers cannot overwrite each other: whose
version is not the newest is refused, and is told what the other one saved. Version 0 is the draft,
in the words of the house style of its reader or site, where there is one. Whose reading is without
a draft begins with nothing, and is shown no text that somebody made of the draft.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.draft_tables import Draft
from records.database.review_tables import WorkingText
from records.database.style_tables import ReportStyle
from records.database.tables import Study
from records.emergency_grants import grant_of
from records.errors import NotAllowed, TextChanged
from records.report_styles import applying, styles
from records.reviews import readings
from records.reviews.readers import MOST_TEXT, Reader, digest_text, lock_draft
from records.states import (
    READ_FIRST_SENTENCE,
    DraftUse,
    EventKind,
    ReadingEnd,
    TextState,
)
from records.workflow import events
from records.workflow.showing import find_withheld, refuse_withheld


@dataclass(frozen=True, slots=True)
class Text:
    """The working text of a draft as it stands.

    Attributes:
        draft_id: the draft that it was written from.
        version: of the text; 0 is what it begins with: nobody has changed it.
        saved_by: who saved it last; "" of the draft.
        saved_by_id: the account; None where nobody was logged in.
        sent_by: who gave it to somebody else; "" while it is OPEN.
        note: what that person wrote to whoever goes on.
        style_id: the version of the house style from which it began; None where there is none.
        draft_use: what it has of the draft; of version 0, what a text that begins so has of it.
    """

    draft_id: uuid.UUID
    version: int
    findings: str
    impression: str
    state: TextState = TextState.OPEN
    saved_by: str = ""
    saved_by_id: uuid.UUID | None = None
    saved_at: dt.datetime | None = None
    sent_by: str = ""
    sent_at: dt.datetime | None = None
    note: str = ""
    style_id: uuid.UUID | None = None
    draft_use: DraftUse = DraftUse.FROM_DRAFT

    @property
    def is_begun_empty(self) -> bool:
        """Whether it is the empty text that nobody has written on."""
        return self.version == 0 and self.draft_use is not DraftUse.FROM_DRAFT

    @property
    def etag(self) -> str:
        """What names exactly this text in If-Match and ETag (RFC 9110, section 8.8.3)."""
        # A text that nobody has saved is another one in another style, and without the draft.
        style = f"-{self.style_id}" if self.version == 0 and self.style_id else ""
        empty = "-empty" if self.is_begun_empty else ""
        return f'"{self.draft_id}-{self.version}{empty}{style}"'

    @property
    def sha256(self) -> str:
        """The digest by which a signature names what was shown."""
        return digest_text(self.findings, self.impression, self.style_id)


class StaleText(TextChanged):
    """Somebody else saved meanwhile: compare both texts, and save again with the newer version.

    Attributes:
        current: the text as it stands.
    """

    def __init__(self, current: Text) -> None:
        by = current.saved_by or "nobody: it is the draft"
        super().__init__(f"the text was changed meanwhile, by {by}")
        self.current = current


class HiddenText(NotAllowed):
    """The text may have words of a draft that is not shown to this person yet."""


def read(session: Session, draft: Draft, account_id: uuid.UUID | None = None) -> Text:
    """The working text of a draft; the draft's own, or an empty one, where nobody has written.

    Args:
        session: the caller's transaction.
        draft: the draft.
        account_id: of who reads it, whose style comes before the site's.

    Raises:
        HiddenText: the draft is hidden from who reads it, and the text may have words of it.
        NotAllowed: the draft is shown to nobody.
    """
    refuse_withheld(session, draft.id)
    note_look(study_ids=[draft.study_id])
    is_granted = grant_of(draft.study_id) is not None  # in an emergency everything is shown
    is_empty = not is_granted and readings.begins_empty(session, draft, account_id)
    row = session.get(WorkingText, draft.id, populate_existing=True)
    if row is not None:
        text = _to_text(row)
    else:
        style = styles.find_in_force(session, _site_of(session, draft), account_id)
        text = _begin(draft, style, is_empty=is_empty)
    if not is_granted and readings.hides_draft(session, draft, account_id):
        _refuse_words_of_draft(text, is_empty=is_empty)
    return text


def _refuse_words_of_draft(text: Text, *, is_empty: bool) -> None:
    """Refuse a text to somebody from whom the draft is hidden.

    Args:
        text: the text.
        is_empty: whether this person writes without the draft.
    """
    if not is_empty:
        raise HiddenText(READ_FIRST_SENTENCE.rstrip(".").replace("Read", "read", 1))
    if text.draft_use is not DraftUse.WITHOUT_DRAFT:
        raise HiddenText(
            f"{text.saved_by or 'somebody'} wrote a text that may have words of the draft, which "
            "is hidden from you: keep what you wrote, and ask for the draft to see both texts"
        )


def list_left(
    session: Session, study_id: uuid.UUID, current: uuid.UUID | None
) -> Sequence[WorkingText]:
    """Texts that were written from other drafts of a study than its current one, newest first.

    A newer draft does not take a reader's words away: the page still shows them.
    """
    note_look(study_ids=[study_id])
    rows = session.scalars(
        select(WorkingText)
        .where(WorkingText.study_id == study_id)
        .order_by(WorkingText.saved_at.desc())
    ).all()
    # Such a text begins as its draft's.
    withheld = find_withheld(session, [row.draft_id for row in rows])
    return [row for row in rows if row.draft_id != current and row.draft_id not in withheld]


def save(
    session: Session,
    draft_id: uuid.UUID,
    version: int,
    findings: str,
    impression: str,
    reader: Reader,
    style_id: uuid.UUID | None = None,
    *,
    began_empty: bool = False,
) -> Text:
    """Save what a reader wrote.

    A save that is sent again, because its answer was lost, changes nothing.

    Args:
        session: the caller's transaction.
        draft_id: the draft that the text was written from.
        version: the version that the reader saw.
        findings: as written, MOST_TEXT characters at most.
        impression: as written, MOST_TEXT characters at most.
        reader: who writes.
        style_id: the style of version 0, as the reader saw it; later versions keep theirs.
        began_empty: whether a reader who is drawn to write without the draft puts what he or she
            wrote so in the place of a text that was made of the draft.

    Returns:
        The text with its new version.

    Raises:
        NotFound: no such draft.
        StaleText: another version is the newest.
        NotAllowed: the draft is signed or superseded, or the text was submitted and the reader may
            not sign.
    """
    if max(len(findings), len(impression)) > MOST_TEXT:
        raise NotAllowed(f"a section may have {MOST_TEXT} characters at most; nothing was saved")
    findings, impression = _clean(findings), _clean(impression)
    draft = _lock_open(session, draft_id, reader)
    current = _read_seen(session, draft, reader, style_id)
    is_same = (findings, impression) == (current.findings, current.impression)
    if version != current.version:
        if is_same and current.saved_by == reader.name and version < current.version:
            return current
        raise StaleText(current)
    if is_same:
        return current
    _refuse_submitted(current, reader)
    if began_empty and readings.begins_empty(session, draft, reader.account_id):
        current = replace(current, draft_use=DraftUse.WITHOUT_DRAFT)
    return _write(session, draft, current, findings, impression, reader)


def discard(session: Session, draft_id: uuid.UUID, version: int, reader: Reader) -> Text:
    """Give up what was written, and begin again with the draft, in the style in force now.

    From whom the draft is hidden begins again with nothing.

    Raises:
        NotFound, StaleText, NotAllowed: as `save`.
    """
    draft = _lock_open(session, draft_id, reader)
    current = read(session, draft, reader.account_id)
    if version != current.version:
        raise StaleText(current)
    _refuse_submitted(current, reader)
    is_empty = readings.hides_draft(session, draft, reader.account_id)
    if current.version == 0 and current.is_begun_empty == is_empty:
        return current
    style = styles.find_in_force(session, _site_of(session, draft), reader.account_id)
    begun = _begin(draft, style, is_empty=is_empty)
    text = _write(session, draft, current, begun.findings, begun.impression, reader)
    row = session.get_one(WorkingText, draft_id)
    row.style_id, row.draft_use = begun.style_id, begun.draft_use
    row.state, row.sent_by, row.sent_by_id = TextState.OPEN, "", None
    row.sent_at, row.note = None, ""
    session.flush()
    session.refresh(row)
    _note(session, draft, EventKind.DISCARDED, f"the text in work, by {reader.name}")
    return _to_text(row) if text.version else text


def send_on(
    session: Session,
    draft_id: uuid.UUID,
    version: int,
    to: TextState,
    reader: Reader,
    note: str = "",
    style_id: uuid.UUID | None = None,
) -> Text:
    """Give a text to somebody who may sign (SUBMITTED), or to a second reader.

    What is given on twice by the same person stays as it is.

    Raises:
        NotFound, StaleText, NotAllowed: as `save`; or OPEN is asked for.
    """
    if to is TextState.OPEN:
        raise NotAllowed("a text is submitted or sent to a second reader")
    draft = _lock_open(session, draft_id, reader)
    current = _read_seen(session, draft, reader, style_id)
    if version != current.version:
        raise StaleText(current)
    if current.state is to and current.sent_by == reader.name:
        return current
    _refuse_submitted(current, reader)
    if current.version == 0:
        _write(session, draft, current, current.findings, current.impression, reader)
    row = session.get_one(WorkingText, draft_id)
    row.state, row.sent_by, row.sent_by_id = to, reader.name, reader.account_id
    row.sent_at, row.note = func.clock_timestamp(), note.strip()
    session.flush()
    session.refresh(row)
    whom = "for signature" if to is TextState.SUBMITTED else "to a second reader"
    _note(session, draft, EventKind.SENT_ON, f"the text, {whom}, by {reader.name}")
    readings.end(session, draft.id, reader.account_id, ReadingEnd.SENT)
    return _to_text(row)


def _site_of(session: Session, draft: Draft) -> uuid.UUID:
    return session.get_one(Study, draft.study_id).site_id


def _begin(draft: Draft, style: ReportStyle | None, *, is_empty: bool = False) -> Text:
    """Version 0 of a text: the draft in the words of a style, or an empty text in its order."""
    if is_empty:
        style_id = style.id if style is not None else None
        return Text(draft.id, 0, "", "", style_id=style_id, draft_use=DraftUse.WITHOUT_DRAFT)
    if style is None:
        return Text(draft.id, 0, draft.findings, draft.impression)
    styled = applying.apply(styles.content_of(style), draft.findings, draft.impression)
    return Text(draft.id, 0, styled.findings, styled.impression, style_id=style.id)


def _read_seen(session: Session, draft: Draft, reader: Reader, style_id: uuid.UUID | None) -> Text:
    """The text as it stands; version 0 in the style in which the reader saw it.

    Raises:
        StaleText: the reader cannot have seen it in that style.
    """
    current = read(session, draft, reader.account_id)
    if current.version or current.style_id == style_id:
        return current
    if style_id is None:
        return _begin(draft, None, is_empty=current.is_begun_empty)
    site_id = _site_of(session, draft)
    style = styles.may_begin_with(session, style_id, site_id, reader.account_id)
    if style is None:
        raise StaleText(current)
    return _begin(draft, style, is_empty=current.is_begun_empty)


def _lock_open(session: Session, draft_id: uuid.UUID, reader: Reader) -> Draft:
    draft = lock_draft(session, draft_id, reader.name)
    if draft.superseded_at is not None:
        raise NotAllowed("a newer draft stands in this one's place: write from that one")
    return draft


def _refuse_submitted(current: Text, reader: Reader) -> None:
    if current.state is TextState.SUBMITTED and not reader.may_sign:
        raise NotAllowed("the text was submitted: somebody who may sign goes on with it")


def _write(
    session: Session, draft: Draft, current: Text, findings: str, impression: str, reader: Reader
) -> Text:
    use = find_use(session, draft, current, reader)
    if current.version == 0:
        without = ", without the draft" if current.is_begun_empty else ""
        _note(session, draft, EventKind.EDITED, f"by {reader.name}{without}")
        row = WorkingText(
            draft_id=draft.id, study_id=draft.study_id, version=1, style_id=current.style_id
        )
        session.add(row)
    else:
        row = session.get_one(WorkingText, draft.id)
        row.version = current.version + 1
    row.draft_use = use
    row.findings, row.impression = findings, impression
    row.saved_by, row.saved_by_id = reader.name, reader.account_id
    row.saved_at = func.clock_timestamp()
    session.flush()
    session.refresh(row)
    return _to_text(row)


def find_use(session: Session, draft: Draft, text: Text, reader: Reader) -> DraftUse:
    """What a text has of the draft where this reader writes on or signs it now."""
    if text.draft_use is DraftUse.WITHOUT_DRAFT and readings.has_seen(
        session, draft, reader.account_id
    ):
        return DraftUse.DRAFT_SHOWN
    return text.draft_use


def _note(session: Session, draft: Draft, kind: EventKind, detail: str) -> None:
    # The event holds nothing of the text, which may name the patient.
    events.append_event(session, draft.study_id, kind, detail, draft.request_id)


def _to_text(row: WorkingText) -> Text:
    return Text(
        draft_id=row.draft_id,
        version=row.version,
        findings=row.findings,
        impression=row.impression,
        state=TextState(row.state),
        saved_by=row.saved_by,
        saved_by_id=row.saved_by_id,
        saved_at=row.saved_at,
        sent_by=row.sent_by,
        sent_at=row.sent_at,
        note=row.note,
        style_id=row.style_id,
        draft_use=DraftUse(row.draft_use),
    )


def _clean(text: str) -> str:
    """The text with line ends as one character, as browsers send two, and without NUL."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
