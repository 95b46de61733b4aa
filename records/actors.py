"""In whose name the present work is done: a person, a program, a command, or a running part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from records.states import ActorKind


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, and from where.

    Attributes:
        kind: what kind of actor it is.
        name: of a PART the part (`listener`), of a COMMAND the user of this system, of an ACCOUNT
            its login name, of a PROGRAM the name of its token; "" of NOBODY.
        id: of the account or token; "" where there is none.
        address: the network address that the request came from; "" where there is none.
    """

    kind: ActorKind
    name: str = ""
    id: str = ""
    address: str = ""


NOBODY = Actor(ActorKind.NOBODY)
"""Nobody said who it is: pages and REST before the first account exists."""

_current: ContextVar[Actor] = ContextVar("_current", default=NOBODY)


def current_actor() -> Actor:
    """The actor of the present request, command or part; NOBODY where none was named."""
    return _current.get()


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    """Let everything within the block be done in the name of `actor`.

    A thread that is begun within the block has the actor only if it was given the context.
    """
    token = _current.set(actor)
    try:
        yield
    finally:
        _current.reset(token)
