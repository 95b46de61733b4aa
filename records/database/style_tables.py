"""The table of house styles of reports."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column


class ReportStyle(Base):
    """One version of the style of a site or of a reader. Written once: a change is a new version.

    The newest version of a site or reader is in force; none is, where that one is `is_ended`.
    """

    __tablename__ = "report_styles"
    __table_args__ = (
        CheckConstraint("(site_id IS NULL) <> (account_id IS NULL)", name="has_one_owner"),
        CheckConstraint("version > 0", name="version_counts"),
        CheckConstraint(r"name ~ '\S'", name="has_name"),
        CheckConstraint(r"saved_by ~ '\S'", name="has_person"),
        UniqueConstraint("site_id", "version"),
        UniqueConstraint("account_id", "version"),
    )

    id: Mapped[uuid.UUID] = id_column()
    site_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("sites.id"))
    account_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("accounts.id"))
    version: Mapped[int]
    name: Mapped[str]
    # `records.report_styles.content.StyleContent.to_json`.
    content: Mapped[dict[str, Any]]
    is_ended: Mapped[bool] = mapped_column(server_default=text("false"))
    saved_by: Mapped[str]
    saved_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
