"""After a login nobody is led to another site."""

import pytest

from api.access.destinations import local_path, login_address


@pytest.mark.parametrize(
    "path", ["/", "/studies/1?before=3", "/?words=M%C3%BCller&state=HELD", "/a//b", "/@x:y"]
)
def test_pages_of_ours(path):
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "studies",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/a\r\nSet-Cookie: x=1",
        "/\x00",
        "/ü",
        " /a",
        "/a b",
        "/a\\b",
        "/" + "x" * 3000,
    ],
)
def test_anything_else_is_nowhere(path):
    assert local_path(path) == ""
    assert login_address(path) == "/login"


def test_the_login_leads_back():
    assert login_address("/studies/1?before=3") == "/login?next=%2Fstudies%2F1%3Fbefore%3D3"
    assert login_address("/") == "/login"
    assert login_address("/", "ended") == "/login?why=ended"
    assert login_address("/holds", "ended") == "/login?why=ended&next=%2Fholds"
