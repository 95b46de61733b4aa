"""Carries out a call with an Idempotency-Key once, and keeps its answer for whoever repeats it.

What the call changes and the row with its answer are one transaction. So there is never one without
the other, whatever is killed in between, and no row has to say that a call is still running: that
is an advisory lock of the same transaction, which ends with it on every server process
(docs/develop/decisions, "Idempotency keys in the transaction of the change").
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Uuid,
    any_,
    delete,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.audit.looks import PatientNumber, note_look, read_noted
from records.database.draft_tables import Draft
from records.database.idempotency_tables import KeptAnswer
from records.database.session import engine, in_our_words, interval, parts_of
from records.database.tables import Study
from records.failpoints import failpoint
from records.settings import settings
from records.states import Purpose
from records.workflow.showing import find_withheld
from records.workflow.site_scope import shows_study, visible_sites

_REMOVE_AT_ONCE = 1000
_place: ColumnElement[str] = literal_column("kept_answers.ctid")


class KeyIsBusy(Exception):
    """A call with this key is being carried out."""


class KeyWasUsed(Exception):
    """The key belongs to another call of the same caller."""


class AnswerWithdrawn(Exception):
    """The call was carried out, and its answer may not be shown any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of REST.

    Attributes:
        status: of HTTP.
        headers: those that belong to the body, by their names in small letters.
        body: its text; REST answers in JSON or with nothing.
    """

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(slots=True)
class KeyedCall:
    """A call with a key, whose transaction has begun.

    Attributes:
        kept: the answer of the first call, where this one repeats it; else None, and the call is
            carried out `within()` and then given to `finish`.
    """

    caller: str
    key_sha256: str
    request_sha256: str
    kept: Answer | None
    _connection: Connection

    @classmethod
    def open(cls, caller: str, key: str, request_sha256: str) -> Self:
        """Begin a transaction that nobody else has for this key, and look for the first answer.

        Args:
            caller: who calls, so that nobody meets another one's keys.
            key: the value of Idempotency-Key.
            request_sha256: digest of what is asked for.

        Raises:
            KeyIsBusy, KeyWasUsed, AnswerWithdrawn: the call is not carried out.
            DatabaseDown: PostgreSQL does not answer.
        """
        key_sha256 = hashlib.sha256(key.encode()).hexdigest()
        with in_our_words():
            connection = engine().connect()
            try:
                connection.begin()
                if not connection.scalar(
                    select(func.pg_try_advisory_xact_lock(_lock_number(caller, key_sha256)))
                ):
                    raise KeyIsBusy
                with Session(connection) as session:
                    row = session.scalar(_find(caller, key_sha256))
                    kept = None if row is None else _repeat(session, row, request_sha256)
            except BaseException:
                connection.close()
                raise
        return cls(caller, key_sha256, request_sha256, kept, connection)

    def within(self) -> AbstractContextManager[None]:
        """Let every `unit_of_work()` of the block be a part of the call's transaction."""
        return parts_of(self._connection)

    def finish(self, answer: Answer) -> None:
        """Keep the answer, and commit it with what the call changed.

        Raises:
            DatabaseDown, NightdraftError: nothing was changed, or, where the connection broke, it
                is not known; whoever repeats the call learns it.
        """
        with in_our_words():
            with (
                Session(self._connection, join_transaction_mode="create_savepoint") as session,
                session.begin(),
            ):
                self._keep(session, answer)
            failpoint("before-kept-answer-commit")
            self._connection.commit()
        failpoint("after-kept-answer-commit")

    def commit(self) -> None:
        """Commit what the call changed, and keep no answer: it is judged anew when it is repeated.

        Raises:
            DatabaseDown, NightdraftError: as `finish`.
        """
        with in_our_words():
            self._connection.commit()

    def close(self) -> None:
        """End the transaction; what was not committed is taken back."""
        with in_our_words():
            self._connection.close()

    def _keep(self, session: Session, answer: Answer) -> None:
        values = {
            "request_sha256": self.request_sha256,
            "status": answer.status,
            "headers": dict(answer.headers),
            "body": answer.body,
            "shown": _describe_shown(session),
        }
        session.execute(
            insert(KeptAnswer)
            .values(caller=self.caller, key_sha256=self.key_sha256, **values)
            .on_conflict_do_update(  # one that is older than the setting's hours
                index_elements=[KeptAnswer.caller, KeptAnswer.key_sha256],
                set_=values | {"kept_at": func.clock_timestamp()},
            )
        )


def remove_old(session: Session, hours: float) -> int:
    """Remove answers that were kept for so many hours; a thousand at most: call again for more.

    Args:
        session: the caller's transaction.
        hours: for how long answers are kept.

    Returns:
        How many they were.
    """
    old = (
        select(_place)
        # now() stands still in a transaction, so that the index can be asked for it.
        .where(KeptAnswer.kept_at < func.now() - interval(hours * 3600))
        .order_by(KeptAnswer.kept_at)
        .limit(_REMOVE_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    removed = session.execute(
        delete(KeptAnswer)
        # By their places in the table: by their keys, the planner would rather walk all of it.
        .where(_place == any_(func.array(old.scalar_subquery())))
        .returning(KeptAnswer.key_sha256)
        .execution_options(synchronize_session=False)
    )
    return len(removed.all())


def _lock_number(caller: str, key_sha256: str) -> int:
    """The advisory lock of a key: 64 bits of a digest, as PostgreSQL counts them."""
    digest = hashlib.sha256(f"kept answer {caller} {key_sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _find(caller: str, key_sha256: str) -> Any:
    return select(KeptAnswer).where(
        KeptAnswer.caller == caller,
        KeptAnswer.key_sha256 == key_sha256,
        KeptAnswer.kept_at >= func.now() - interval(settings().idempotency_hours * 3600),
    )


def _repeat(session: Session, row: KeptAnswer, request_sha256: str) -> Answer:
    """The answer as it was kept, where who calls may still see it; it is noted as a look.

    Raises:
        KeyWasUsed: the first call asked for something else.
        AnswerWithdrawn: who calls may not see any more what the answer shows.
    """
    if row.request_sha256 != request_sha256:
        raise KeyWasUsed
    shown = row.shown
    study_ids = [uuid.UUID(one) for one in shown["studies"]]
    if not _sees_as_much(shown["sites"]) or not _are_shown(
        session, study_ids, [uuid.UUID(one) for one in shown["drafts"]]
    ):
        raise AnswerWithdrawn
    note_look(study_ids=study_ids, patients=[PatientNumber(*one) for one in shown["patients"]])
    for thing in shown["things"]:
        note_look(thing=thing)
    return Answer(row.status, row.headers, row.body)


def _describe_shown(session: Session) -> dict[str, Any]:
    """What was noted of patients, for which sites, and which drafts could be shown with it."""
    noted = read_noted()
    sites = visible_sites()
    drafts = session.scalars(
        select(Draft.id).where(
            Draft.study_id == any_(literal(list(noted.study_ids), ARRAY(Uuid))),
            Draft.purpose == Purpose.PRIMARY,
        )
    ).all()
    withheld = find_withheld(session, drafts)
    return {
        "studies": [str(one) for one in noted.study_ids],
        "patients": [[one.patient_id, one.issuer] for one in noted.patients],
        "things": list(noted.things),
        "sites": None if sites is None else [str(one) for one in sites],
        "drafts": [str(one) for one in drafts if one not in withheld],
    }


def _sees_as_much(sites: list[str] | None) -> bool:
    """Whether who calls sees every site that he or she saw at the first call."""
    present = visible_sites()
    return present is None or (sites is not None and set(sites) <= {str(one) for one in present})


def _are_shown(session: Session, study_ids: list[uuid.UUID], draft_ids: list[uuid.UUID]) -> bool:
    """Whether all studies are still there and shown, and none of the drafts was stopped since."""
    found = session.scalars(
        select(Study).where(Study.id == any_(literal(study_ids, ARRAY(Uuid))))
    ).all()
    return (
        len(found) == len(study_ids)
        and all(shows_study(study) for study in found)
        and not find_withheld(session, draft_ids)
    )
