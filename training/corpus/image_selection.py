"""Which films of a study are read, and in what order. Knows no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from model.case import MAX_VIEWS
from training.corpus.example import FRONTAL_FIRST, Film

F = TypeVar("F", bound=Film)


def choose_films(films: Sequence[F]) -> tuple[F, ...]:
    """At most three: a frontal, a lateral, then the rest, frontals first; as in serving.

    So a study of three frontals and a lateral keeps its lateral, and of one kind the first come
    first.
    """
    first = [next((f for f in films if f.position == p), None) for p in ("frontal", "lateral")]
    best = [film for film in first if film is not None]
    rest = sorted(
        (film for film in films if film not in best),
        key=lambda film: FRONTAL_FIRST.index(film.position),
    )
    # Without a frontal, a film of unknown position is the likelier one, and stands first.
    if best and best[0].position == "lateral" and rest and rest[0].position == "unknown":
        best, rest = [rest[0], *best], rest[1:]
    return tuple([*best, *rest][:MAX_VIEWS])
