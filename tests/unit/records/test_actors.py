"""The actor of the present work, in threads and nested blocks."""

from __future__ import annotations

import contextvars
import threading

from records.actors import NOBODY, Actor, acting_as, current_actor
from records.states import ActorKind

READER = Actor(ActorKind.ACCOUNT, "reader", "1", "10.0.0.5")
SWEEP = Actor(ActorKind.PART, "sweep")


def test_nobody_acts_until_somebody_is_named() -> None:
    assert current_actor() is NOBODY


def test_the_inner_block_counts_and_the_outer_one_comes_back() -> None:
    with acting_as(SWEEP):
        with acting_as(READER):
            assert current_actor() is READER
        assert current_actor() is SWEEP
    assert current_actor() is NOBODY


def test_an_error_ends_the_block_too() -> None:
    try:
        with acting_as(READER):
            raise ValueError
    except ValueError:
        assert current_actor() is NOBODY


def test_a_thread_has_the_actor_only_with_its_context() -> None:
    seen: list[Actor] = []

    def look() -> None:
        seen.append(current_actor())

    with acting_as(READER):
        context = contextvars.copy_context()
        for target in (look, lambda: context.run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert seen == [NOBODY, READER]
