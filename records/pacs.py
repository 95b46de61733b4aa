"""The PACSs that campaigns fetch images from, as a file names them.

NIGHTDRAFT_PACS_FILE names a TOML file, with one table for each PACS:

    [archive]                       # the name that campaigns and pages use
    host = "pacs.example.org"
    port = 104
    ae_title = "ARCHIVE"
    retrieve = "c-get"              # "c-move" to our listener, or "wado-rs" with a url
    studies_per_minute = 30
    associations = 2
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from records.errors import NotFound, SettingsError
from records.tls.certificates import pin_of
from records.tls.contexts import ClientFiles

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")

Retrieve = Literal["c-get", "c-move", "wado-rs"]


class Pacs(BaseModel):
    """How one PACS is asked, and how often.

    Attributes:
        name: as campaigns and pages call it.
        host, port: its DICOM address; not needed with wado-rs.
        ae_title: its AE title.
        calling_ae: our AE title; "" is NIGHTDRAFT_AE_TITLE.
        retrieve: how images are fetched.
        move_destination: the AE title by which the PACS knows our listener; "" is calling_ae.
        url: of its DICOMweb service, up to and without `/studies`.
        sites: codes of the sites for which the people of these sites may fetch from it.
        token_file: a file with a bearer token, read anew for each question.
        tls: whether DICOM goes over TLS; a url says it by itself.
        ca_file, certificate_file, key_file: PEM files, as for the worklist.
        server_name: the name that its certificate must have, for DICOM; "" is host.
        pin: SHA-256 of its certificate, for DICOM. Where it is set it alone counts.
        studies_per_minute: how many are fetched, at most, of all campaigns.
        associations: how many studies are fetched at the same time, at most.
        seconds: within which it must answer.
        answers_cut_at: how many answers it gives at most, where that is known; 0 is not known.
        attempts: how often a study is fetched.
        retry_seconds: the wait before it is fetched again; it doubles with each.
        nearline_hours: the wait where the PACS has to bring a study from slow media.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    host: str = ""
    port: int = Field(default=104, ge=1, le=65535)
    ae_title: str = Field(default="", max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*$")
    calling_ae: str = Field(default="", max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*$")
    retrieve: Retrieve = "c-get"
    move_destination: str = Field(default="", max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*$")
    url: str = ""
    sites: tuple[str, ...] = ()
    token_file: str = ""
    tls: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    server_name: str = ""
    pin: str = ""
    studies_per_minute: float = Field(default=30.0, gt=0)
    associations: int = Field(default=1, ge=1, le=16)
    seconds: float = Field(default=60.0, ge=1)
    answers_cut_at: int = Field(default=0, ge=0)
    attempts: int = Field(default=3, ge=1)
    retry_seconds: float = Field(default=300.0, gt=0)
    nearline_hours: float = Field(default=4.0, gt=0)

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value and not re.match(r"https?://[^\s/?#]+[^\s?#]*$", value):
            raise ValueError("a url begins with http:// or https:// and has no query")
        return value.rstrip("/")

    @field_validator("pin")
    @classmethod
    def _check_pin(cls, value: str) -> str:
        return pin_of(value) if value else ""

    @model_validator(mode="after")
    def _check_whole(self) -> Pacs:
        if self.retrieve == "wado-rs":
            if not self.url:
                raise ValueError('retrieve = "wado-rs" needs url')
        elif not (self.host and self.ae_title.strip()):
            raise ValueError(f'retrieve = "{self.retrieve}" needs host and ae_title')
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file belong together")
        if (self.pin or self.server_name) and not self.tls:
            raise ValueError("pin and server_name need tls = true")
        return self

    def tls_files(self) -> ClientFiles:
        """How its certificate is checked, and ours."""
        return ClientFiles(
            self.ca_file,
            self.certificate_file,
            self.key_file,
            (f"the PACS {self.name}: ca_file", "certificate_file", "key_file"),
            self.pin,
        )


def read_pacs_file(file: str) -> dict[str, Pacs]:
    """The PACSs of the file, by name.

    Args:
        file: its path; "" names none.

    Raises:
        SettingsError: the file cannot be read or is wrong; the message names file, PACS and key.
    """
    if not file:
        return {}
    try:
        content = tomllib.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"NIGHTDRAFT_PACS_FILE: {file} cannot be read ({error.strerror})"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: is not TOML: {error}") from None
    return {name: _read_one(file, name, table) for name, table in content.items()}


def _read_one(file: str, name: str, table: object) -> Pacs:
    if not isinstance(table, dict):
        raise SettingsError(f"{file}: {name} stands outside of a table: begin one with [archive]")
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{file}: [{name}] is no name of a PACS: up to 32 letters, digits, - and _"
        )
    if "name" in table:
        raise SettingsError(f"{file}: {name}.name: the table's own name is the name")
    try:
        return Pacs(name=name, **table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        sentence = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            near = get_close_matches(key, Pacs.model_fields, n=1)
            sentence = f"is no key of a PACS{f': did you mean {near[0]}?' if near else ''}"
        raise SettingsError(f"{file}: {'.'.join(filter(None, (name, key)))}: {sentence}") from None


def find_pacs(file: str, name: str) -> Pacs:
    """The PACS of a name.

    Raises:
        NotFound: the file names none of that name.
        SettingsError: as `read_pacs_file`.
    """
    known = read_pacs_file(file)
    if name not in known:
        names = ", ".join(sorted(known)) or "none: set NIGHTDRAFT_PACS_FILE"
        raise NotFound(f"no PACS is called {name!r}; there are: {names}")
    return known[name]
