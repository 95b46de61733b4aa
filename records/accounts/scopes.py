"""Scopes that programs ask for (RFC 6749, 3.3), and what is granted of them.

Two kinds: `nightdraft/<permission>` in lower case is a permission of ours, and `system/Type.cru` is
FHIR (SMART App Launch 2.2, section 3), which needs the permission SEND_ORDERS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from records.states import Permission

FHIR_INTERACTIONS = "cru"
"""What is served of create, read, update, delete and search, in the order of SMART."""

ANY_TYPE = "*"

_OURS = "nightdraft/"
_FHIR = re.compile(r"system/([A-Z][A-Za-z]{1,63}|\*)\.(c?r?u?d?s?|read|write|\*)")
_OLD = {"read": "rs", "write": "cud", "*": "cruds"}  # of SMART 1


@dataclass(frozen=True, slots=True)
class Granted:
    """What a program was granted.

    Attributes:
        permissions: what it may do.
        fhir: by type of resource (`*` for all) the letters of what it may do there; None where
            FHIR is limited by the permission alone.
    """

    permissions: frozenset[Permission]
    fhir: Mapping[str, str] | None

    @property
    def text(self) -> str:
        """The scopes as an answer names them; `grant` of it is the same again."""
        words = [
            our_scope(one)
            for one in sorted(self.permissions)
            if one is not Permission.SEND_ORDERS or self.fhir is None
        ]
        words += [f"system/{kind}.{letters}" for kind, letters in sorted((self.fhir or {}).items())]
        return " ".join(words)


def our_scope(permission: Permission) -> str:
    """The scope of a permission of ours."""
    return f"{_OURS}{permission.lower()}"


def supported(permissions: Iterable[Permission]) -> list[str]:
    """The scopes that programs with these permissions can be granted."""
    return [*map(our_scope, sorted(permissions)), f"system/{ANY_TYPE}.{FHIR_INTERACTIONS}"]


def grant(asked: str, allowed: Iterable[Permission]) -> Granted:
    """What is granted of scopes that were asked for; what is not allowed or not known is left out.

    Args:
        asked: scopes with spaces between them.
        allowed: what the program may do at most.
    """
    by_scope = {our_scope(permission): permission for permission in allowed}
    permissions = {by_scope[word] for word in asked.split() if word in by_scope}
    fhir: dict[str, str] = {}
    if Permission.SEND_ORDERS in by_scope.values():
        for word in asked.split():
            match = _FHIR.fullmatch(word)
            if match is None:
                continue
            letters = _OLD.get(match[2], match[2]) + fhir.get(match[1], "")
            if served := "".join(one for one in FHIR_INTERACTIONS if one in letters):
                fhir[match[1]] = served
    if Permission.SEND_ORDERS in permissions:
        return Granted(frozenset(permissions), None)  # all of FHIR is in it
    if fhir:
        return Granted(frozenset(permissions | {Permission.SEND_ORDERS}), fhir)
    return Granted(frozenset(permissions), None)


def allows(fhir: Mapping[str, str] | None, kind: str, letter: str) -> bool:
    """Whether scopes allow an interaction.

    Args:
        fhir: as in `Granted`.
        kind: the type of the resource.
        letter: c, r or u.
    """
    if fhir is None:
        return True
    return letter in fhir.get(kind, "") or letter in fhir.get(ANY_TYPE, "")
