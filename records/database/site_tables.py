"""The tables of sites, and of which senders belong to which site."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import CheckConstraint, ForeignKey, func
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, vocabulary_check
from records.states import SiteMode

DEFAULT_SITE_ID = uuid.UUID("00000000-0000-7000-8000-000000000001")
"""Our id of the first site, `default`; the migrations make its row."""


class Site(Base):
    """A place whose studies only its own people see."""

    __tablename__ = "sites"
    __table_args__ = (
        CheckConstraint("code ~ '^[a-z0-9][a-z0-9-]{0,31}$'", name="code_is_plain"),
        vocabulary_check("mode", SiteMode),
    )

    id: Mapped[uuid.UUID] = id_column()
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    # Whether drafts are shown; it changes only by a proposal to which a second person consented.
    mode: Mapped[str] = mapped_column(server_default=SiteMode.SHADOW)
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class SiteCaller(Base):
    """A calling AE title whose studies belong to a site other than the first one."""

    __tablename__ = "site_callers"

    calling_ae: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sites.id"), index=True)


class SiteSender(Base):
    """A system whose orders, reports and messages belong to a site other than the first one."""

    __tablename__ = "site_senders"

    # As `plain_key` gives it: MSH-3 and MSH-4 as "RIS|NORTH", `meta.source`, an AE title, a name.
    sender: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sites.id"), index=True)
