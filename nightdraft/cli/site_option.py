"""`--site CODE` of lists: only what belongs to one site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

OfSite = Annotated[
    str, typer.Option("--site", help="Only those of the site with this code, such as `north`.")
]


@contextmanager
def of_site(session: Session, code: str) -> Iterator[None]:
    """Let everything within the block show what is of this site alone; "" is every site.

    Raises:
        NotFound: there is no site of that code.
    """
    from records.workflow import site_scope, sites

    with site_scope.limited_to([sites.get(session, code).id] if code else None):
        yield
