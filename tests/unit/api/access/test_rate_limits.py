"""Requests are counted by who sent them, and a limit of nothing is none."""

from __future__ import annotations

import pytest

from api.access.rate_limits import RateLimits
from api.access.visitor import Visitor
from records.actors import Actor
from records.settings import Settings
from records.states import ActorKind


def visitor(kind: ActorKind, id_: str = "1") -> Visitor:
    return Visitor(Actor(kind, "ada", id_, "192.0.2.7"), frozenset())


WHO = {
    "account": visitor(ActorKind.ACCOUNT),
    "token": visitor(ActorKind.PROGRAM),
    "stranger": None,
}


@pytest.mark.parametrize("who", WHO)
def test_only_so_many_are_answered_and_others_are_not_counted(who: str) -> None:
    limits = RateLimits(Settings(**{f"{who}_requests_per_minute": 3}))
    waits = [limits.wait_seconds(WHO[who], "192.0.2.7") for _ in range(5)]
    assert waits[:3] == [0, 0, 0]
    assert all(0 < wait <= 60 for wait in waits[3:])
    for other in set(WHO) - {who}:
        assert limits.wait_seconds(WHO[other], "192.0.2.7") == 0
    assert limits.wait_seconds(visitor(ActorKind.ACCOUNT, "2"), "192.0.2.7") == 0
    assert limits.wait_seconds(None, "192.0.2.8") == 0


@pytest.mark.parametrize("who", WHO)
def test_a_limit_of_nothing_is_none(who: str) -> None:
    limits = RateLimits(Settings(**{f"{who}_requests_per_minute": 0}))
    assert {limits.wait_seconds(WHO[who], "192.0.2.7") for _ in range(15_000)} == {0}


def test_before_the_first_account_nothing_is_counted() -> None:
    limits = RateLimits(Settings(stranger_requests_per_minute=1, account_requests_per_minute=1))
    nobody = visitor(ActorKind.NOBODY, "")
    assert [limits.wait_seconds(nobody, "127.0.0.1") for _ in range(5)] == [0] * 5


def test_an_address_that_is_none_is_counted_as_it_is() -> None:
    limits = RateLimits(Settings(stranger_requests_per_minute=1))
    assert limits.wait_seconds(None, "") == 0
    assert limits.wait_seconds(None, "") > 0
