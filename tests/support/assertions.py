"""Assertions of programs, good and bad, and the keys that sign them."""

from __future__ import annotations

import time
import uuid

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from records.accounts import key_sets, program_logins, programs
from records.accounts.programs import ProgramKeys
from records.database.session import unit_of_work
from records.states import Permission

RSA = RSAKey.generate_key(2048, {"kid": "rsa-1"})
EC = ECKey.generate_key("P-384", {"kid": "ec-1"})
OTHER = RSAKey.generate_key(2048, {"kid": "rsa-1"})
"""Another program's key, under the same id."""

_REGISTRY = JWSRegistry(algorithms=list(JWSRegistry.algorithms), strict_check_header=False)


def key_set(*keys):
    return {"keys": [key.as_dict(private=False) for key in keys]}


def make_program(name="ris", permissions=(Permission.SEND_ORDERS,), *, keys=None, **how):
    """A program with two keys."""
    import json

    with unit_of_work() as session:
        programs.create(
            session,
            name,
            permissions,
            "a test",
            keys=keys or ProgramKeys(key_sets.parse(json.dumps(key_set(RSA, EC)).encode())),
            **how,
        )


def claims(name="ris", **changed):
    now = int(time.time())
    made = {
        "iss": name,
        "sub": name,
        "aud": program_logins.token_address(),
        "exp": now + 240,
        "jti": str(uuid.uuid4()),
    }
    return {key: value for key, value in (made | changed).items() if value is not None}


def sign(payload, key=RSA, *, algorithm="", **header):
    """A JWT; a header that is None is left out."""
    import json

    algorithm = algorithm or ("ES384" if isinstance(key, ECKey) else "RS384")
    given = {"alg": algorithm, "kid": key.kid, "typ": "JWT"} | header
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return jws.serialize_compact(
        {name: value for name, value in given.items() if value is not None},
        content,
        key,
        registry=_REGISTRY,
    )
