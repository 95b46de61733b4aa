"""Which passwords are taken, and how they are kept: Argon2id (RFC 9106).

The rules are those of NIST SP 800-63B, 3.1.1: a least length, no rules of composition, no end after
a time, and none that is a common one or is made of what everybody knows of the person.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from records.errors import NotAllowed

LEAST_CHARACTERS = 8
MOST_CHARACTERS = 1024
"""A longer text is not hashed: it would only keep a processor busy."""

_OWN_WORDS = ("nightdraft", "radiology", "hospital")

_HASHER = argon2.PasswordHasher()  # the second profile of RFC 9106, 4: 64 MiB, three passes

_AT_ONCE = threading.BoundedSemaphore(4)
"""Passwords that are hashed at the same time: each takes 64 MiB."""


def check_new(password: str, known_words: Iterable[str] = ()) -> None:
    """Check that a password may be chosen.

    Args:
        password: what the person typed.
        known_words: the login name and the name of the person.

    Raises:
        NotAllowed: it is too short, too long, a common one, or made of a known word.
    """
    plain = _normalised(password)
    if len(plain) < LEAST_CHARACTERS:
        raise NotAllowed(f"the password is too short: choose {LEAST_CHARACTERS} characters or more")
    if len(plain) > MOST_CHARACTERS:
        raise NotAllowed(f"the password is too long: choose {MOST_CHARACTERS} characters at most")
    folded = plain.casefold()
    if folded in _common_passwords():
        raise NotAllowed(
            "the password is one of the common ones that are tried first: choose another"
        )
    if len(set(folded)) < 3:
        raise NotAllowed("the password repeats one or two characters: choose another")
    words = [*_OWN_WORDS, *known_words]
    for word in {part for text in words for part in text.casefold().split()}:
        # Digits and signs around a word that everybody knows are tried next.
        if len(word) > 3 and not folded.replace(word, "").strip("0123456789!?.,-_#*+$% "):
            raise NotAllowed(
                "the password is made of a name that everybody knows here: choose another"
            )


def make_hash(password: str) -> str:
    """The hash of a password with its salt and parameters, in PHC's form."""
    with _AT_ONCE:
        return _HASHER.hash(_normalised(password))


def is_right(password: str, kept: str | None) -> bool:
    """Whether a password is the one of the hash.

    It takes as long where there is no hash, so that nobody learns by the time which accounts exist.

    Args:
        password: what the person typed.
        kept: the hash of the account; None where there is no account, or it has no password.
    """
    if len(password) > MOST_CHARACTERS:
        password, kept = "", None
    with _AT_ONCE:
        try:
            _HASHER.verify(kept or _hash_of_nobody(), _normalised(password))
        except (VerificationError, InvalidHashError):
            return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    """Whether a hash was made with weaker parameters than are used now."""
    return _HASHER.check_needs_rehash(kept)


def _normalised(password: str) -> str:
    """One form for what keyboards write differently (NIST SP 800-63B, 3.1.1.2: NFC)."""
    return unicodedata.normalize("NFC", password)


@lru_cache(maxsize=1)
def _hash_of_nobody() -> str:
    return _HASHER.hash("the password of no account")


@lru_cache(maxsize=1)
def _common_passwords() -> frozenset[str]:
    # 30,000 of the passwords that were found most often in lists that were stolen.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(FREQUENCY_LISTS["passwords"])
