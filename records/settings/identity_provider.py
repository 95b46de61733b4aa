"""The identity provider by which people log in (OpenID Connect)."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from records.settings.forms import ADVANCED, EVERYDAY, LOOPBACK, split_pairs
from records.states import Role


class IdentityProviderSettings(BaseModel):
    """Settings of the identity provider."""

    oidc_issuer: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Issuer of the identity provider by which people log in (OpenID Connect), as "
        "`https://login.hospital.example/realms/hospital` ([OIDC](oidc.md)). Empty: there is none.",
    )
    oidc_name: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        max_length=80,
        description="Name of the identity provider on the login page. Empty: its host.",
    )
    oidc_client_id: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Our client id at the identity provider.",
    )
    oidc_client_secret: SecretStr = Field(
        json_schema_extra=EVERYDAY,
        default=SecretStr(""),
        description="Our secret at the identity provider. Empty: the key in the next setting.",
    )
    oidc_client_key_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Private key (PEM or JWK; RSA for RS256, P-256 for ES256) by which we log in "
        "to the identity provider instead of a secret (private_key_jwt).",
    )
    oidc_ca_file: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        description="Certificates (PEM) of the authorities that the identity provider's "
        "certificate is checked with. Empty: those that this machine trusts.",
    )
    oidc_scopes: str = Field(
        json_schema_extra=ADVANCED,
        default="openid profile",
        pattern=r"^(.* )?openid( .*)?$",
        description="Scopes that the identity provider is asked for, with spaces between them; "
        "`openid` must be among them.",
    )
    oidc_login_claim: str = Field(
        json_schema_extra=EVERYDAY,
        default="preferred_username",
        min_length=1,
        description="Claim that holds the login name of a new account.",
    )
    oidc_groups_claim: str = Field(
        json_schema_extra=EVERYDAY,
        default="groups",
        min_length=1,
        description="Claim that lists a person's groups. A dot leads into a claim, as "
        "`realm_access.roles`.",
    )
    oidc_roles: Annotated[dict[str, Role], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Role by group, as `radiology-leads=LEAD, radiologists=READER`. The first pair "
        "whose group a person has counts; who has none of the groups may not log in. Names of "
        "groups with a comma are written as JSON.",
    )
    oidc_sites: Annotated[dict[str, str], NoDecode] = Field(
        json_schema_extra=EVERYDAY,
        default_factory=dict,
        description="Codes of sites by group, as `north-staff=north, network=north south`; a "
        "person sees those of all of his or her groups, and the group `*` is everybody. Empty: the "
        "site `default`.",
    )
    oidc_seconds: float = Field(
        json_schema_extra=ADVANCED,
        default=10.0,
        gt=0,
        le=60,
        description="How long one call of the identity provider may take.",
    )
    fallback_account: str = Field(
        json_schema_extra=EVERYDAY,
        default="",
        max_length=64,
        description="Login name of the only local account that may still log in, for the case that "
        "the identity provider does not answer; all other local accounts are switched off. Empty: "
        "local accounts log in beside those of the identity provider.",
    )

    @field_validator("oidc_issuer", mode="after")
    @classmethod
    def _check_issuer(cls, value: str) -> str:
        url = urlsplit(value)
        if value and (
            not url.hostname
            or url.query
            or url.fragment
            or "@" in url.netloc
            or not (url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK))
        ):
            raise ValueError(
                "an issuer is an https address without a query, as the identity provider says it "
                "in its discovery document"
            )
        return value

    @field_validator("oidc_roles", mode="before")
    @classmethod
    def _read_roles(cls, value: object) -> object:
        return {group: str(role).upper() for group, role in split_pairs(value, "GROUP=ROLE")}

    @field_validator("oidc_roles", mode="after")
    @classmethod
    def _check_roles(cls, value: dict[str, Role]) -> dict[str, Role]:
        if Role.SERVICE in value.values():
            raise ValueError("SERVICE is the role of programs, and no person has it")
        return value

    @field_validator("oidc_sites", mode="before")
    @classmethod
    def _read_sites(cls, value: object) -> object:
        return dict(split_pairs(value, "GROUP=SITE"))

    @field_validator("oidc_sites", mode="after")
    @classmethod
    def _check_sites(cls, value: dict[str, str]) -> dict[str, str]:
        empty = [group for group, codes in value.items() if not codes.split()]
        if empty:
            raise ValueError(f"the group {empty[0]} has no site")
        return value

    @field_validator("fallback_account", mode="after")
    @classmethod
    def _fold_account(cls, value: str) -> str:
        return value.strip().casefold()
