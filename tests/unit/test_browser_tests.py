"""How tests of pages look at them: they wait until a page is as it should be."""

import ast
from collections.abc import Iterator

from tests.support.paths import ROOT

AT_ONE_MOMENT = {
    "count",
    "inner_text",
    "input_value",
    "is_checked",
    "is_disabled",
    "is_enabled",
    "is_hidden",
    "is_visible",
    "text_content",
}
"""What Playwright answers as soon as the element is there, or at once."""


def early_looks(code: str) -> Iterator[int]:
    """The lines where an `assert` asks a page what it shows at this moment."""
    for statement in ast.walk(ast.parse(code)):
        if isinstance(statement, ast.Assert):
            for node in ast.walk(statement):
                match node:
                    case ast.Call(func=ast.Attribute(attr=name), args=[]) if name in AT_ONE_MOMENT:
                        yield node.lineno


def test_a_test_of_a_page_waits_for_what_it_expects() -> None:
    """A page that a click opened is shown while it still comes, so its end may not be there yet."""
    files = sorted((ROOT / "tests/acceptance/api").glob("*.py"))
    assert files
    early = [f"{file.name}:{line}" for file in files for line in early_looks(file.read_text())]
    assert early == [], "use Playwright's expect(), which waits"


def test_an_early_look_is_found() -> None:
    code = "def test_it(page):\n    images = page.locator('img')\n    assert images.count() == 2\n"
    assert list(early_looks(code)) == [3]
