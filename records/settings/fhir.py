"""What FHIR resources that are sent may be, and what their systems are called."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from records.settings.forms import ADVANCED, EVERYDAY, StringList, split_pairs


class FhirSettings(BaseModel):
    """Settings of FHIR resources that are sent."""

    fhir_issuers: Annotated[dict[str, str], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="What DICOM calls the systems of FHIR identifiers, as (0010,0021) and "
        "(0008,0051) have it: `http://hospital.example/mrn=HOSPITAL`. The system of a patient's "
        "number that is not named stands for itself, and contradicts an issuer in DICOM.",
    )
    fhir_accession_systems: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Systems of FHIR identifiers that are accession numbers, where senders do not "
        "type them as ACSN.",
    )
    fhir_max_mb: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        description="Largest FHIR resource or transaction, in MB.",
    )

    @field_validator("fhir_issuers", mode="before")
    @classmethod
    def _read_issuers(cls, value: object) -> object:
        return dict(split_pairs(value, "SYSTEM=ISSUER"))
