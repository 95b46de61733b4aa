"""The table of answers that REST keeps for calls with an Idempotency-Key."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import CheckConstraint, Index, SmallInteger, func
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base


class KeptAnswer(Base):
    """What a call with an Idempotency-Key was answered, for a day or as the settings say.

    The key is kept as its digest, for a program may have put a patient's number into it.
    """

    __tablename__ = "kept_answers"
    __table_args__ = (
        CheckConstraint("status BETWEEN 200 AND 499", name="is_an_answer"),
        Index("ix_kept_answers_kept_at", "kept_at"),
    )

    caller: Mapped[str] = mapped_column(primary_key=True)  # `ACCOUNT <our id>`
    key_sha256: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]  # of method, address, If-Match and body
    status: Mapped[int] = mapped_column(SmallInteger)
    headers: Mapped[dict[str, Any]]  # those that belong to the body: content-type, etag, location
    body: Mapped[str]
    shown: Mapped[dict[str, Any]]  # what was read of patients for it, and for whose eyes
    kept_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
