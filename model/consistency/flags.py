"""What the checks are told of a report, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

SECTIONS = ("findings", "impression")


class Side(StrEnum):
    """A side of the patient."""

    LEFT = "left"
    RIGHT = "right"


class FlagKind(StrEnum):
    """What a flag is about."""

    SIDE = "SIDE"  # another side than the other section's, or than that of the film
    CONTRADICTION = "CONTRADICTION"  # one section has what the other one denies
    NO_PRIOR = "NO_PRIOR"  # a comparison, and nothing to compare with
    MEASUREMENT = "MEASUREMENT"  # a figure that a model wrote and nobody measured
    SEX = "SEX"  # a word that does not fit the patient's sex
    AGE = "AGE"  # a word or a figure that does not fit the patient's age
    SILENT = "SILENT"  # the indication asks about it, and the text does not answer
    BLANK = "BLANK"  # a place that was to be filled in


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """A report's text, and what is known beside it.

    Attributes:
        findings: the section as it stands.
        impression: the section as it stands.
        indication: the order's indication; "" where there is none.
        draft: the model's text from which the report was made; "" where there is none.
        prior_report: the prior report that the model or the reader was given; "" where there is
            none.
        has_prior: whether there is anything to compare with: a prior report, or an earlier study.
        film_side: the side that all films name in their headers, (0020,0062) or (0020,0060); None
            where they name none, both, or are views of the whole chest.
        sex: (0010,0040): M, F, O, or "".
        age_years: at the examination; None where it is not known.
    """

    findings: str
    impression: str
    indication: str = ""
    draft: str = ""
    prior_report: str = ""
    has_prior: bool = False
    film_side: Side | None = None
    sex: str = ""
    age_years: float | None = None

    @property
    def sections(self) -> Mapping[str, str]:
        """The sections by their names."""
        return {"findings": self.findings, "impression": self.impression}


@dataclass(frozen=True, slots=True, order=True)
class Flag:
    """A place at which a reader should look.

    Attributes:
        section: "findings" or "impression"; "" where it is about the whole text.
        start: where the sentence begins, in characters of the section.
        end: where it ends.
        kind: what it is about.
        message: one sentence for the reader.
    """

    section: str
    start: int
    end: int
    kind: FlagKind
    message: str = field(compare=True)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a section, and its text in lower case with one space between words."""

    section: str
    start: int
    end: int
    words: str

    def flag(self, kind: FlagKind, message: str) -> Flag:
        """A flag beside this sentence."""
        return Flag(self.section, self.start, self.end, kind, message)
