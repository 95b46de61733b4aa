"""What REST's pydantic models have in common; FastAPI makes the OpenAPI document of the models.

The models are in the modules `*_schemas`, by subject, and are named after the rows they show:
`Draft` there is what REST shows of a `draft_tables.Draft`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.access.decider import name_decider

# PostgreSQL keeps no NUL, and nobody types the other control characters, C1 among them.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
MANY_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

SearchText = Annotated[str, StringConstraints(max_length=100, pattern=ONE_LINE)]
StudyUid = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.-]{1,64}$")]
"""A Study Instance UID (0020,000D), or our own id of the study."""
EventMark = Annotated[int, Field(ge=1, lt=2**63)]
"""The id of a line of a timeline."""


Decider = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=100, pattern=ONE_LINE),
    AfterValidator(name_decider),
    Field(
        validate_default=True,
        description="Who decides. With an account it is the account: it may be left out, and "
        "nobody else is taken. With a token it may name the person for whom the program acts. "
        "Before the first account it must be given.",
    ),
]
"""Who decides, as it is kept; the default is ""."""


class Problem(BaseModel):
    """An error (RFC 9457). title: what happened. detail: what to do. instance: to what.

    request_id: as the header X-Request-ID; the log lines about the request carry it.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str


class FromRow(BaseModel):
    """A model that is read from a row's attributes."""

    model_config = ConfigDict(from_attributes=True)


class Patient(FromRow):
    """Who the study is of, as sent."""

    patient_id: str
    name: str
    birth_date: str
    sex: str
