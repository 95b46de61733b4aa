"""Draws the packages and the arrows between them, as they are imported, into the architecture page.

    python -m tools.draw_architecture            # writes docs/develop/architecture.md anew
    python -m tools.draw_architecture --check    # exits with 1 where the page is out of date

The drawing is Mermaid text between two marks in the page, so that a difference of it can be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "develop" / "architecture.md"
BEGIN, END = "<!-- drawing: begin -->", "<!-- drawing: end -->"

FLOORS = {
    "floor 3": ("nightdraft",),
    "floor 2": ("intake", "worker", "api", "training"),
    "floor 1": ("records", "model"),
}
PACKAGES = tuple(package for packages in FLOORS.values() for package in packages)
WITH_ROOMS = ("nightdraft", "training", "records", "model")
"""The packages whose rooms get a drawing of their own; each of the others is one room."""

Edges = set[tuple[str, str]]


def package_edges(graph: grimp.ImportGraph) -> Edges:
    """Return the imports between top-level packages."""
    return _edges(graph, lambda module: module.split(".")[0], PACKAGES)


def room_edges(graph: grimp.ImportGraph, package: str) -> Edges:
    """Return the imports between the rooms (sub-packages and modules) of one package."""
    rooms = [child.split(".")[1] for child in graph.find_children(package)]

    def room_of(module: str) -> str:
        parts = module.split(".")
        return parts[1] if parts[0] == package and len(parts) > 1 else ""

    return _edges(graph, room_of, rooms)


def draw(graph: grimp.ImportGraph) -> str:
    """Return the drawing as Markdown: one diagram of the floors, one of each package's rooms."""
    return "\n".join(_markdown(graph)) + "\n"


def replaced(page: str, drawing: str) -> str:
    """Return the page with the drawing between its marks.

    Raises:
        ValueError: The page lacks one of the marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{drawing}{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Write the drawing into the page, or check it; return the exit status."""
    parser = argparse.ArgumentParser("python -m tools.draw_architecture", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 if old")
    check = parser.parse_args(arguments).check
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    page = PAGE.read_text()
    current = replaced(page, draw(graph))
    if check and current != page:
        sys.stderr.write(
            "The drawing in docs/develop/architecture.md is out of date: run `make drawing`.\n"
        )
        return 1
    if current != page:
        PAGE.write_text(current)
    return 0


def _edges(graph: grimp.ImportGraph, room_of: Callable[[str], str], rooms: Iterable[str]) -> Edges:
    known = set(rooms)
    edges: Edges = set()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            source, target = room_of(importer), room_of(imported)
            if source != target and source in known and target in known:
                edges.add((source, target))
    return edges


def _markdown(graph: grimp.ImportGraph) -> Iterator[str]:
    yield "The three floors:\n"
    yield "```mermaid\nflowchart TD"
    for number, (floor, packages) in enumerate(FLOORS.items()):
        yield f'  subgraph f{number}["{floor}"]'
        yield from (f"    {package}" for package in packages)
        yield "  end"
    yield from _arrows(package_edges(graph))
    yield "```"
    for package in WITH_ROOMS:
        rooms = sorted(child.split(".")[1] for child in graph.find_children(package))
        yield f"\nThe rooms of `{package}`:\n"
        yield "```mermaid\nflowchart TD"
        yield from (f'  {package}_{room}["{room}"]' for room in rooms)
        yield from _arrows(room_edges(graph, package), f"{package}_")
        yield "```"


def _arrows(edges: Edges, prefix: str = "") -> Iterator[str]:
    for source, target in sorted(edges):
        yield f"  {prefix}{source} --> {prefix}{target}"


if __name__ == "__main__":
    sys.exit(main())
