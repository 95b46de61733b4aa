"""The pages and REST: where they are served, and how long a login lasts."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, field_validator

from records.settings.forms import ADVANCED, EVERYDAY, StringList, check_networks


class WebSettings(BaseModel):
    """Settings of the pages and logins."""

    serve_host: str = Field(
        json_schema_extra=EVERYDAY,
        default="127.0.0.1",
        description="Address the pages and REST bind to. The server starts on an address that is "
        "not loopback only once there is an account (docs/operate/accounts.md).",
    )
    serve_port: int = Field(
        json_schema_extra=EVERYDAY,
        default=8080,
        ge=0,
        le=65535,
        description="TCP port of the pages and REST; 0 takes a free one.",
    )
    date_order: Literal["YMD", "DMY", "MDY"] = Field(
        json_schema_extra=EVERYDAY,
        default="YMD",
        description="How pages write a date: `YMD` as 2026-11-24, `DMY` as 24 Nov 2026, `MDY` as "
        "Nov 24, 2026. Files, REST and commands have 2026-11-24 in any case.",
    )
    serve_names: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Names by which browsers may reach the pages besides `localhost` and "
        "`NIGHTDRAFT_SERVE_HOST`, as `A, B`. Other names in a Host header are refused.",
    )
    serve_certificate: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Certificate (PEM, with its chain) of the pages and REST. Where it is set they "
        "are served by HTTPS alone ([TLS](tls.md)). It is read again when the file changes.",
    )
    serve_certificate_key: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Private key (PEM) of the certificate; empty where it is in the same file.",
    )
    serve_hsts_days: float = Field(
        json_schema_extra=ADVANCED,
        default=180.0,
        ge=0,
        description="For so long after its last visit a browser calls the pages by HTTPS only "
        "(Strict-Transport-Security), where it came by HTTPS. 0: it is not told so.",
    )
    trusted_proxies: StringList = Field(
        json_schema_extra=EVERYDAY,
        default=(),
        description="Addresses and networks of proxies that stand before the pages, as "
        "`127.0.0.1, 10.1.0.0/24`. Only theirs are `X-Forwarded-For` and `X-Forwarded-Proto` "
        "believed.",
    )
    session_idle_minutes: float = Field(
        json_schema_extra=EVERYDAY,
        default=30.0,
        gt=0,
        le=1440,
        description="A login ends when the person has used no page for so long.",
    )
    session_hours: float = Field(
        json_schema_extra=EVERYDAY,
        default=12.0,
        gt=0,
        le=168,
        description="A login ends so long after it began, however much it is used.",
    )
    screen_lock_minutes: float = Field(
        json_schema_extra=EVERYDAY,
        default=10.0,
        gt=0,
        le=1440,
        description="A page is cleared, and its login ends, when neither mouse nor keyboard was "
        "used in it for so long.",
    )
    fresh_minutes: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        le=1440,
        description="What needs the password again, such as the changes of an account, may be "
        "done for so long after it was given.",
    )
    demo_reader: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        max_length=64,
        description="Login name of the demonstration's reader: the one-use link of this account "
        "logs in at once, without a password, in a browser on this machine. `nightdraft demo` "
        "sets it. The pages do not start with it where `NIGHTDRAFT_SERVE_HOST` is not loopback, "
        "or with a proxy or an identity provider.",
    )
    emergency_minutes: float = Field(
        json_schema_extra=EVERYDAY,
        default=60.0,
        gt=0,
        le=1440,
        description="A patient of another site who was opened in an emergency is shown for so "
        "long. It ends before, where the person ends it or logs out.",
    )
    idempotency_hours: float = Field(
        json_schema_extra=ADVANCED,
        default=24.0,
        gt=0,
        le=168,
        description="So long the answer to a call with an `Idempotency-Key` is kept. Who repeats "
        "the call within this time gets the same answer, and nothing is changed again "
        "([REST](api.md#calls-that-are-sent-again)).",
    )
    image_display_url: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        pattern=r"^(https?://[^\s/]+[^\s]*)?$",
        description="Address of the site's own viewer, by which a study's page links to the study "
        "there (IHE Invoke Image Display, RAD-106), as "
        "`https://pacs.example.org/viewer/IHEInvokeImageDisplay`. `requestType=STUDY` and "
        "`studyUID` are added. Empty: no link.",
    )
    program_keys_ca_file: str = Field(
        json_schema_extra=ADVANCED,
        default="",
        description="Certificates (PEM) of the authorities that the addresses of programs' public "
        "keys are checked with (`nightdraft token create --jwks-url`). Empty: those that this "
        "machine trusts.",
    )

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _check_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_networks(value)
        return value
