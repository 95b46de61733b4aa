"""Which passwords are taken, and that their hashes are Argon2id."""

import pytest

from records.accounts import passwords
from records.errors import NotAllowed


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "zwölfäöüß",  # eight characters and more, of any script
        "пароль из слов",
        "        x y z",  # spaces count
        "x1" * 4 + "?",
        "q" * 500 + "wertz" + "u" * 519,  # 1024
    ],
)
def test_long_ones_are_taken_without_rules_of_composition(password):
    passwords.check_new(password, ("ada", "Ada Lovelace"))


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("seven77", "too short"),
        ("x" * 5 + "yz" * 600, "too long"),
        ("Password1", "common"),
        ("qwertyuiop", "common"),
        ("abababababab", "repeats"),
        ("NightDraft2026!", "everybody knows"),
        ("lovelace1815", "everybody knows"),
        ("ada.lovelace", "everybody knows"),
    ],
)
def test_others_are_refused_with_the_reason(password, why):
    with pytest.raises(NotAllowed, match=why):
        passwords.check_new(password, ("ada.lovelace", "Ada Lovelace"))


def test_a_hash_is_argon2id_with_the_parameters_of_the_rfc():
    kept = passwords.make_hash("correct horse battery staple")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.is_right("correct horse battery staple", kept)
    assert not passwords.is_right("correct horse battery stapl", kept)
    assert not passwords.is_outdated(kept)
    assert kept != passwords.make_hash("correct horse battery staple")


def test_two_spellings_of_one_character_are_one_password():
    kept = passwords.make_hash("Ka\u0301ro\u0301lyi utca")
    assert passwords.is_right("K\u00e1r\u00f3lyi utca", kept)


def test_who_has_no_password_is_hashed_all_the_same(monkeypatch):
    hashed = []
    verify = passwords._HASHER.__class__.verify
    monkeypatch.setattr(
        passwords._HASHER.__class__,
        "verify",
        lambda self, kept, password: hashed.append(kept) or verify(self, kept, password),
    )
    assert not passwords.is_right("the password of no account", None)
    assert [kept.split("$")[1:4] for kept in hashed] == [["argon2id", "v=19", "m=65536,t=3,p=4"]]


def test_a_text_without_end_is_not_hashed():
    kept = passwords.make_hash("x" * 1024)
    assert passwords.is_right("x" * 1024, kept)
    assert not passwords.is_right("x" * 1025, kept)
