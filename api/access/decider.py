"""Who decides: whoever is logged in, or calls with a token; else the name that is typed.

This is the one place where the `by` of a form and of a call is understood.
"""

from __future__ import annotations

from api.access.visitor import Visitor, current_visitor
from records.errors import NotAllowed
from records.states import ActorKind


def account_name(visitor: Visitor) -> str:
    """The account of a visitor for people, as `Ada Lovelace (ada)`; "" where there is none."""
    if visitor.session is None:
        return ""
    name, login = visitor.session.name, visitor.session.login
    return login if name == login else f"{name} ({login})"


def name_decider(given: str) -> str:
    """Who decides in the present request, as it is kept with the decision.

    Args:
        given: `by`, as it was sent; "" where it was left out.

    Returns:
        The account that is logged in; of a program its name, with whom it says that it acts for;
        where nobody is known, who was given.

    Raises:
        ValueError: another person than the account was given.
        NotAllowed: nobody was given, and there is no account by which it would be known.
    """
    visitor = current_visitor()
    if visitor is not None and (name := account_name(visitor)):
        assert visitor.session is not None
        own = {name, visitor.session.name, visitor.session.login}
        if given and given.casefold() not in {one.casefold() for one in own}:
            raise ValueError(
                "it names somebody else than the account that asks: leave it out, for the account "
                "is what is kept"
            )
        return name
    if visitor is not None and visitor.actor.kind is ActorKind.PROGRAM:
        program = visitor.actor.name
        return f"{program} for {given}" if given else program
    if not given:
        raise NotAllowed("say who decides, as `by`: nobody is logged in")
    return given
