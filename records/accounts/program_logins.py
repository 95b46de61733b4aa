"""Programs log in with a signed assertion, and get a token of a few minutes.

SMART Backend Services (HL7 SMART App Launch 2.2, section 6), which is the client credentials grant
of RFC 6749, section 4.4, with the assertion of RFC 7523. Each function makes its own transactions:
an attempt is counted before the assertion is looked at.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry
from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.accounts import key_sets, lockouts, programs, scopes
from records.accounts.digests import digest
from records.accounts.key_sets import ALGORITHMS, KeyFetcher
from records.accounts.lockouts import Attempt, Refused
from records.actors import Actor, acting_as
from records.audit import trail
from records.database.account_tables import ProgramAssertion, ProgramToken
from records.database.session import database_time, unit_of_work
from records.errors import PartError, TokenRefused
from records.settings import settings
from records.states import ActorKind, AuditAction, AuditOutcome

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRANT_TYPE = "client_credentials"

MOST_SECONDS = 300
"""An assertion ends no later than so long after now."""

CLOCK_SECONDS = 10
"""By so much the program's clock may differ from the database's."""

MAX_LENGTH = 16_384
_MAX_TEXT = 200
_MAX_SCOPE = 4000

UNKNOWN = "no program that may log in has this id and signs with this key"
"""One sentence for all that only we know: a stranger learns of no program."""


class _Registry(JWSRegistry):
    max_header_length = 4096
    max_payload_length = MAX_LENGTH


def _registry(*algorithms: str) -> JWSRegistry:
    # What else is in a header is passed over (RFC 7515, 4); `crit` is refused.
    return _Registry(algorithms=algorithms, strict_check_header=False)


_REGISTRY = _registry(*ALGORITHMS)
_fetcher = KeyFetcher()


@dataclass(frozen=True, slots=True)
class Access:
    """A token that was given.

    Attributes:
        token: for the header Authorization.
        seconds: how long it counts.
        scope: what it may do.
    """

    token: str
    seconds: int
    scope: str


@dataclass(frozen=True, slots=True)
class _Assertion:
    """What an assertion says of itself; nothing of it is proven.

    Attributes:
        text: as it was sent.
        algorithm, key_id: of its header.
        key_set_url: `jku` of its header; None where it names none.
        claims: its payload.
    """

    text: str
    algorithm: str
    key_id: str
    key_set_url: object
    claims: dict[str, Any]

    @property
    def client_id(self) -> str:
        return str(self.claims["iss"])


def token_address() -> str:
    """The address at which programs get tokens, which is what an assertion must be for."""
    return f"{settings().pages_address()}/auth/token"


def log_in(assertion: str, scope: str, *, address: str, client_id: str = "") -> Access:
    """Give a program a token for a signed assertion.

    Args:
        assertion: a JWT, as sent.
        scope: the scopes that are asked for, with spaces between them.
        address: the network address.
        client_id: of the form, where it has one (RFC 7521, 4.2).

    Raises:
        TokenRefused: something of it is wrong, or there were too many attempts.
        PartError: the program's keys are at an address that does not answer.
    """
    nobody = Actor(ActorKind.NOBODY, address=address)
    with acting_as(nobody), unit_of_work() as session:
        attempt = lockouts.begin_program(session, address)
        now = database_time(session)
        if isinstance(attempt, Refused):
            _record_refusal(session, "too many attempts")
    if isinstance(attempt, Refused):
        wait = max(attempt.wait_seconds, 1.0)
        raise TokenRefused(
            "invalid_client", f"there were too many attempts: wait {wait:.0f} s", wait
        )
    program = None
    try:
        read = _read(assertion, now)
        if client_id and client_id != read.client_id:
            raise _invalid("client_id is not the issuer of the assertion")
        with unit_of_work() as session:
            program = programs.find_by_name(session, read.client_id)
        _verify(read, program)
        assert program is not None
        return _give(program, read, scope, attempt, address)
    except TokenRefused as error:
        with acting_as(nobody), unit_of_work() as session:
            error.wait_seconds = lockouts.wait_after(session, attempt)
            _record_refusal(session, str(error), program)
            if error.wait_seconds > 0:
                _record_refusal(session, f"locked for {error.wait_seconds:.0f} s", program)
        raise
    except PartError:
        with unit_of_work() as session:
            lockouts.succeed(session, attempt)  # it is no fault of the program's
        raise


def _read(text: str, now: dt.datetime) -> _Assertion:
    """Read an assertion, and check what can be checked without knowing anybody's key."""
    if len(text) > MAX_LENGTH or not text.isascii():
        raise _invalid(f"the assertion is longer than {MAX_LENGTH} characters, or is not ASCII")
    try:
        found = jws.extract_compact(text.encode("ascii"), registry=_REGISTRY)
        header = found.headers()
        claims = json.loads(found.payload)
    except (JoseError, ValueError, RecursionError, TypeError, KeyError):
        raise _invalid("the assertion is no signed JWT in compact form") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _invalid("the assertion is no signed JWT in compact form")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _invalid(f"the assertion is not signed with {' or '.join(ALGORITHMS)}")
    if not _is_text(key_id):
        raise _invalid("the header of the assertion names no key (kid)")
    if "crit" in header:
        raise _invalid("the header of the assertion has extensions (crit), which are not known")
    _check_claims(claims, now)
    return _Assertion(text, algorithm, str(key_id), header.get("jku"), claims)


def _check_claims(claims: dict[str, Any], now: dt.datetime) -> None:
    if not _is_text(claims.get("iss")) or claims.get("sub") != claims["iss"]:
        raise _invalid("iss and sub are not both the id of the program")
    audience = claims.get("aud")
    if audience not in (token_address(), [token_address()]):
        raise _invalid(f"aud is not {token_address()}")
    if not _is_text(claims.get("jti")):
        raise _invalid(f"jti is no text of 1 to {_MAX_TEXT} characters")
    seconds = now.timestamp()
    ends: Any = claims.get("exp")
    if not _is_number(ends) or ends <= seconds - CLOCK_SECONDS:
        raise _invalid("the assertion has ended, or has no end (exp)")
    if ends > seconds + MOST_SECONDS + CLOCK_SECONDS:
        raise _invalid(f"the assertion ends more than {MOST_SECONDS} s from now (exp)")
    for name in ("nbf", "iat"):
        begins: Any = claims.get(name, seconds)
        if not _is_number(begins) or begins > seconds + CLOCK_SECONDS:
            raise _invalid(f"the assertion begins later than now ({name})")


def _verify(read: _Assertion, program: ProgramToken | None) -> None:
    """Check that a program made an assertion: by its signature."""
    if program is None or program.token_hash is not None:
        raise _invalid(UNKNOWN)
    if read.key_set_url is not None and read.key_set_url != program.key_set_url:
        # It would be the key of whoever wrote the header.
        raise _invalid(UNKNOWN)
    if program.key_set_url is not None:
        key = _fetcher.find(program.key_set_url, read.key_id, read.algorithm, settings())
    else:
        key = key_sets.find(program.key_set or {"keys": []}, read.key_id, read.algorithm)
    if key is None:
        raise _invalid(UNKNOWN)
    try:
        jws.deserialize_compact(read.text, key, registry=_registry(read.algorithm))
    except (JoseError, ValueError, TypeError):
        raise _invalid(UNKNOWN) from None


def _give(
    program: ProgramToken, read: _Assertion, scope: str, attempt: Attempt, address: str
) -> Access:
    granted = scopes.grant(
        scope if len(scope) <= _MAX_SCOPE else "", programs.permissions_of(program)
    )
    if not granted.permissions:
        raise TokenRefused(
            "invalid_scope",
            "the program may have none of these scopes: nightdraft/permission in lower case, or "
            "system/Type.cru for FHIR",
        )
    actor = Actor(ActorKind.PROGRAM, program.name, str(program.id), address)
    with acting_as(actor), unit_of_work() as session:
        _use_up(session, program, read)
        lockouts.succeed(session, attempt)
        lockouts.forget_old(session)
        token = programs.give_access(session, program, granted.text)
        trail.record(session, AuditAction.LOGIN, detail=f"was given a token for {granted.text}")
    return Access(token, programs.ACCESS_SECONDS, granted.text)


def _use_up(session: Session, program: ProgramToken, read: _Assertion) -> None:
    """Accept an assertion once; of two at the same time the second one is refused."""
    # now() stands still in a transaction, so that the index can be asked for it.
    session.execute(delete(ProgramAssertion).where(ProgramAssertion.ends_at < func.now()))
    ends = float(read.claims["exp"]) + CLOCK_SECONDS + 1
    used = session.scalar(
        insert(ProgramAssertion)
        .values(
            program_id=program.id,
            jti_hash=digest(read.claims["jti"]),
            ends_at=dt.datetime.fromtimestamp(ends, dt.UTC),
        )
        .on_conflict_do_nothing()
        .returning(ProgramAssertion.program_id)
    )
    if used is None:
        raise _invalid("the assertion was used before (jti): make a new one for each token")


def _record_refusal(session: Session, why: str, program: ProgramToken | None = None) -> None:
    # An id that no program has is whatever a stranger wrote there.
    whose = f"program {program.name}" if program is not None else "no program is known by it"
    trail.record(
        session,
        AuditAction.LOGIN,
        outcome=AuditOutcome.REFUSED,
        detail=f"a program's login failed: {why}: {whose}",
    )


def _invalid(sentence: str) -> TokenRefused:
    return TokenRefused("invalid_client", sentence)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and value.isprintable()


def _is_number(value: Any) -> bool:
    is_one = isinstance(value, int | float) and not isinstance(value, bool)
    return is_one and abs(value) < 1e12  # neither endless nor no number
