"""The table of FHIR resources that other systems sent, so that references lead somewhere."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base
from records.database.site_tables import DEFAULT_SITE_ID


class FhirResource(Base):
    """A resource as it was last sent; what it means here is in `orders` and `received_reports`."""

    __tablename__ = "fhir_resources"
    __table_args__ = (
        Index(
            "ix_fhir_resources_identifiers",
            "identifiers",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        ),
    )

    resource_type: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    fhir_version: Mapped[str]  # 4.0, 4.3, 5.0: by which models it was checked
    # Type, system and value of each identifier, as `records.fhir.store` writes them.
    identifiers: Mapped[list[str]]
    content: Mapped[dict[str, Any]]
    order_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("orders.id"), index=True)
    # Whose people see it.
    site_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sites.id"), server_default=text(f"'{DEFAULT_SITE_ID}'::uuid")
    )
    updated_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
