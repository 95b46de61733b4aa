"""Questions to other systems: modality worklists, and FHIR servers with reports."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator

from records.settings.forms import ADVANCED, EVERYDAY, LOOPBACK


class QuestionSettings(BaseModel):
    """Settings of questions to other systems."""

    worklist_host: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="DICOM modality worklist that is asked for the order of a study that comes "
        "without one ([worklist](integration/worklist.md)). Empty: none is asked.",
    )
    worklist_port: int = Field(
        json_schema_extra=EVERYDAY,
        default=104,
        ge=1,
        le=65535,
        description="TCP port of the worklist.",
    )
    worklist_ae_title: str = Field(
        json_schema_extra=EVERYDAY,
        default="WORKLIST",
        min_length=1,
        max_length=16,
        description="AE title of the worklist.",
    )
    worklist_calling_ae: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        max_length=16,
        description="AE title by which we call the worklist. Empty: `NIGHTDRAFT_AE_TITLE`.",
    )
    worklist_tls: bool = Field(
        json_schema_extra=EVERYDAY,
        default=False,
        description="Whether the worklist is asked over TLS.",
    )
    worklist_ca_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Certificates (PEM) of the authorities that the worklist's certificate is "
        "checked with. Empty: those that this machine trusts.",
    )
    worklist_certificate_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Our own certificate (PEM), where the worklist asks for one.",
    )
    worklist_key_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Private key (PEM) of our own certificate. Empty: it is in the same file.",
    )
    worklist_server_name: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Name that the worklist's certificate must have. Empty: "
        "`NIGHTDRAFT_WORKLIST_HOST`.",
    )
    worklist_pin: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="SHA-256 of the worklist's certificate, as `openssl x509 -noout -fingerprint "
        "-sha256` prints it. Where it is set it alone counts: no name, authority or date.",
    )
    worklist_per_minute: float = Field(
        json_schema_extra=ADVANCED,
        default=120.0,
        gt=0,
        description="Studies a minute that the worklist is asked about, at most.",
    )
    worklist_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=30.0,
        gt=0,
        le=120,
        description="Time in which the worklist must answer.",
    )
    worklist_answers: int = Field(
        json_schema_extra=ADVANCED,
        default=200,
        ge=1,
        le=5000,
        description="Answers to one question, at most. With more the question has failed: a "
        "worklist that does not match by the key that it is asked with gives all that it has.",
    )
    worklist_attempts: int = Field(
        json_schema_extra=ADVANCED,
        default=3,
        ge=1,
        description="How often the worklist is asked about one study, where it knows no order or "
        "its answer cannot be used.",
    )
    worklist_retry_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        ge=0,
        description="Wait before the worklist is asked about a study again; it doubles each time.",
    )
    reports_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s?#]*)?$",
        description="Base address of a FHIR server (R4, R4B or R5) that is asked for earlier "
        "reports of each new study's patient ([FHIR client](integration/fhir-client.md)). Empty: "
        "none is asked.",
    )
    reports_patient_system: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="System of the patient ids in FHIR for films that name no issuer (0010,0021). "
        "For those that do it is the one that `NIGHTDRAFT_FHIR_ISSUERS` gives the issuer.",
    )
    reports_search: Literal["patient", "chained"] = Field(
        json_schema_extra=ADVANCED,
        default="patient",
        description="How reports are searched for: `patient` finds the Patient by identifier "
        "first, `chained` asks for `DiagnosticReport?patient.identifier=` at once.",
    )
    reports_category: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Value of the search parameter `category`, as `RAD,LP29684-5`. Empty: reports "
        "of every category are asked for, and those on images are kept.",
    )
    reports_code: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Value of the search parameter `code`, as `36643-5,24627-2`. Empty: none is "
        "sent.",
    )
    reports_limit: int = Field(
        json_schema_extra=ADVANCED,
        default=100,
        ge=1,
        le=1000,
        description="Newest reports of a patient that are read, at most.",
    )
    reports_wait_seconds: float = Field(
        json_schema_extra=EVERYDAY,
        default=30.0,
        ge=0,
        description="A study waits at most so long for its patient's earlier reports before it is "
        "prepared. STAT studies do not wait.",
    )
    reports_login: Literal["none", "bearer", "smart"] = Field(
        json_schema_extra=EVERYDAY,
        default="none",
        description="How we prove who we are to the FHIR server: not at all, by the token in "
        "`NIGHTDRAFT_REPORTS_BEARER_TOKEN`, or by SMART Backend Services.",
    )
    reports_bearer_token: SecretStr = Field(
        json_schema_extra=EVERYDAY,
        default=SecretStr(""),
        description="Token that is sent where the login is `bearer`.",
    )
    reports_client_id: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Our client id at the authorization server, where the login is `smart`.",
    )
    reports_key_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Private key (PEM or JWK; RSA for RS384, P-384 for ES384) that signs our "
        "assertions, where the login is `smart`.",
    )
    reports_key_id: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="The key's `kid` in the key set that the authorization server knows. Empty: "
        "the one in the JWK, else its thumbprint (RFC 7638).",
    )
    reports_token_url: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="Where tokens are given. Empty: what the server's "
        "`.well-known/smart-configuration` says.",
    )
    reports_scope: str = Field(
        json_schema_extra=ADVANCED,
        default="system/DiagnosticReport.rs system/Patient.rs system/Observation.rs "
        "system/ServiceRequest.rs system/ImagingStudy.rs",
        description="Scopes that are asked for; `.read` in place of `.rs` for SMART 1.",
    )
    reports_ca_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Certificates (PEM) of the authorities that the certificates of FHIR and "
        "authorization server are checked with. Empty: those that this machine trusts.",
    )
    reports_per_minute: float = Field(
        json_schema_extra=ADVANCED,
        default=120.0,
        gt=0,
        description="Studies a minute for which the FHIR server is asked, at most.",
    )
    reports_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=20.0,
        gt=0,
        le=60,
        description="Time in which the FHIR server must answer one call.",
    )
    reports_attempts: int = Field(
        json_schema_extra=ADVANCED,
        default=3,
        ge=1,
        description="How often earlier reports are asked for where the answer cannot be used.",
    )
    reports_retry_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        ge=0,
        description="Wait before earlier reports are asked for again; it doubles each time.",
    )
    query_hours: float = Field(
        json_schema_extra=ADVANCED,
        default=24.0,
        gt=0,
        description="A question that could not be asked for so long, as another system was away, "
        "is given up.",
    )
    query_alarm_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=60.0,
        ge=0,
        description="An alarm opens when a system that is asked has been away for so long.",
    )

    @field_validator("reports_login", mode="after")
    @classmethod
    def _check_reports_login(cls, value: str, info: ValidationInfo) -> str:
        url = urlsplit(info.data.get("reports_url", ""))
        if value != "none" and url.scheme == "http" and url.hostname not in LOOPBACK:
            raise ValueError(
                "a login needs NIGHTDRAFT_REPORTS_URL to be https, or its token could be read"
            )
        return value
