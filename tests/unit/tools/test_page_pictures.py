"""Every page has pictures: each route that answers HTML is one of a picture, or says why not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from api.app import ROUTERS
from tools.page_pictures import SHOTS, WITHOUT_PICTURES, Shot

NO_PAGE = "/no-such-page"


def pages() -> Iterator[str]:
    """The path of every route that answers GET with HTML."""
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, APIRoute) and "GET" in route.methods:
            answer = getattr(route.response_class, "value", route.response_class)
            if issubclass(answer, HTMLResponse):
                yield route.path


def test_every_page_has_pictures_or_says_why_not() -> None:
    pictured = {shot.route for shot in SHOTS} - {NO_PAGE}
    assert pictured | set(WITHOUT_PICTURES) == set(pages())
    assert not pictured & set(WITHOUT_PICTURES)


def test_an_address_that_is_no_page_is_none() -> None:
    assert NO_PAGE in {shot.route for shot in SHOTS}
    assert NO_PAGE not in set(pages())


def test_each_reason_is_a_clause_for_a_person() -> None:
    for route, reason in WITHOUT_PICTURES.items():
        assert len(reason.split()) > 5, route


@pytest.mark.parametrize("attribute", ["name", "title"])
def test_no_two_pages_have_one_name(attribute: str) -> None:
    values = [getattr(shot, attribute) for shot in SHOTS]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.name)
def test_each_name_can_be_the_name_of_a_file(shot: Shot) -> None:
    assert shot.name.replace("-", "").isalnum()
    assert shot.name == shot.name.lower()
