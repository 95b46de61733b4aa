"""The tables of nights: what was done in each quarter of an hour, and a summary of each night."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import BigInteger, Identity, func
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, vocabulary_check
from records.states import WorkKind

UNKNOWN_SITE_ID = uuid.UUID(int=0)
"""The site of work that was counted before work had a site, where there were several sites."""


class WorkCount(Base):
    """How much work of a kind ended in a quarter of an hour; what is kept is added to by the sweep.

    The number is the sum of this row and of the rows of `work_count_parts`.
    """

    __tablename__ = "work_counts"
    __table_args__ = (vocabulary_check("kind", WorkKind),)

    quarter: Mapped[dt.datetime] = mapped_column(primary_key=True)  # its beginning
    kind: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)  # of SKIPPED and FAILED; else ""
    worker: Mapped[str] = mapped_column(primary_key=True)  # stage@host; "" where it is not known
    site_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)  # of the study at that time
    number: Mapped[int] = mapped_column(BigInteger)


class WorkCountPart(Base):
    """A part of a number of `work_counts`; a trigger adds a row for each event.

    So no worker waits for another one. The sweep makes one row of the rows of a number.
    """

    __tablename__ = "work_count_parts"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    quarter: Mapped[dt.datetime]
    kind: Mapped[str]
    reason: Mapped[str]
    worker: Mapped[str]
    site_id: Mapped[uuid.UUID]
    number: Mapped[int] = mapped_column(BigInteger)


class NightSummary(Base):
    """What became of a night. Written once; a trigger refuses changes.

    What is open is of the moment in which the summary was made. The numbers are of every site.
    """

    __tablename__ = "night_summaries"

    night: Mapped[dt.date] = mapped_column(primary_key=True)  # the date of its beginning
    begins_at: Mapped[dt.datetime]
    ends_at: Mapped[dt.datetime]
    time_zone: Mapped[str]  # an IANA name; "" was the zone of the machine
    made_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    prepared: Mapped[int] = mapped_column(BigInteger)
    drafted: Mapped[int] = mapped_column(BigInteger)
    skipped: Mapped[dict[str, Any]]  # {reason: number}
    failed: Mapped[dict[str, Any]]  # {reason: number}
    held: Mapped[dict[str, Any]]  # {reason: number} of the holds that were open
    missing: Mapped[dict[str, Any]]  # {reason: number} of studies that campaigns could not get
    waiting: Mapped[int] = mapped_column(BigInteger)  # studies that were still to be drafted
    # Studies that waited in running campaigns, and were not yet given to the pipeline.
    in_campaigns: Mapped[int] = mapped_column(BigInteger)
    workers: Mapped[dict[str, Any]]  # {stage@host: number} of what each prepared or drafted
