"""What REST takes and gives of report styles, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import MANY_LINES, ONE_LINE, Decider
from model.dicom.characters import remove_controls
from records.database.style_tables import ReportStyle
from records.report_styles import content as contents
from records.report_styles.content import StyleContent
from records.report_styles.styles import content_of


def _clean(text: str) -> str:
    """The text as pages show it; what is blank is refused with all other faults of a style."""
    return remove_controls(text).strip()


Name = Annotated[
    str,
    StringConstraints(max_length=contents.MOST_NAME, pattern=ONE_LINE),
    AfterValidator(_clean),
]
Heading = Annotated[
    str,
    StringConstraints(max_length=contents.MOST_HEADING, pattern=ONE_LINE),
    AfterValidator(_clean),
]
SentenceText = Annotated[
    str,
    StringConstraints(max_length=contents.MOST_SENTENCE, pattern=ONE_LINE),
    AfterValidator(_clean),
]
PhraseText = Annotated[
    str,
    StringConstraints(max_length=contents.MOST_PHRASE, pattern=MANY_LINES),
    AfterValidator(remove_controls),
]
StyleVersion = Annotated[int, Field(ge=0, le=2_000_000_000)]


class Section(BaseModel):
    """A section that is shown, with its heading."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    section: Literal["indication", "comparison", "findings", "impression"]
    heading: Heading


class Wording(BaseModel):
    """The house's words for one sentence of the model; capitals and spaces do not count."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    model: SentenceText
    house: SentenceText


class Phrase(BaseModel):
    """A text that a reader inserts at the cursor. The software never inserts it by itself."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    title: Name
    text: PhraseText


_EXAMPLE: dict[str, Any] = {
    "name": "North Hospital",
    "sections": [
        {"section": "indication", "heading": "Fragestellung"},
        {"section": "findings", "heading": "Befund"},
        {"section": "impression", "heading": "Beurteilung"},
    ],
    "wordings": [{"model": "The lungs are clear.", "house": "Lungs clear."}],
    "phrases": [{"title": "Telephoned", "text": "The finding was reported by telephone."}],
}


class StyleBody(BaseModel):
    """What a style says: sections in their order, wordings, and phrases."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: Name
    sections: Annotated[list[Section], Field(max_length=len(contents.SECTIONS))]
    wordings: Annotated[list[Wording], Field(max_length=contents.MOST_WORDINGS)] = []
    phrases: Annotated[list[Phrase], Field(max_length=contents.MOST_PHRASES)] = []

    def to_content(self) -> StyleContent:
        """The content of `records`."""
        return StyleContent.from_json(
            self.name, self.model_dump(include={"sections", "wordings", "phrases"})
        )

    @classmethod
    def from_content(cls, content: StyleContent) -> StyleBody:
        """What a file or a form has of it."""
        return cls.model_validate({"name": content.name, **content.to_json()})


class StyleRequest(StyleBody):
    """A style that is saved. version: from which it was made; 0 where there was none."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [_EXAMPLE | {"version": 0}]}
    )

    version: StyleVersion
    by: Decider = ""


class EndRequest(BaseModel):
    """A style is ended. version: its newest one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 3}]})

    version: StyleVersion
    by: Decider = ""


class Style(StyleBody):
    """One version of a style.

    site: its code; null of a reader's own. is_ended: from this version on there is no style.
    """

    id: uuid.UUID
    site: str | None
    version: int
    is_ended: bool
    saved_by: str
    saved_at: dt.datetime

    @classmethod
    def from_row(cls, row: ReportStyle, site: str | None) -> Style:
        """The version of a row."""
        return cls(
            **StyleBody.from_content(content_of(row)).model_dump(),
            id=row.id,
            site=site,
            version=row.version,
            is_ended=row.is_ended,
            saved_by=row.saved_by,
            saved_at=row.saved_at,
        )


class StyleList(BaseModel):
    """The styles in force: the own one, and those of the sites that are shown."""

    own: Style | None
    sites: list[Style]


class StyleVersions(BaseModel):
    """The versions of a style, newest first."""

    versions: list[Style]
