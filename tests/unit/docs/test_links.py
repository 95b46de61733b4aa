"""The pages name only what exists: links, headings, commands, options, paths, names, targets.

No page is read by a person each time that the code moves, so a machine does it.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

from nightdraft.cli.main import app
from records.secret_files import secret_settings, variable_of_file
from records.settings import Settings
from tests.support import commands
from tests.support.paths import DOCS, ROOT

PACKAGES = ("records", "model", "intake", "worker", "api", "training", "nightdraft")
FOLDERS = (*PACKAGES, "migrations", "docker", "docs", "examples", "tests", "tools")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
OLD_NAMES = "## Old and new names"
"""From this heading on a page lists names that exist no longer."""

SHELL = ("", "sh", "bash", "console")


class Parts(NamedTuple):
    """A page taken apart."""

    prose: str  # without fenced and indented blocks
    blocks: list[tuple[str, str]]  # language and text of each block
    spans: list[str]  # code between backticks


def parts(text: str) -> Parts:
    """Take a page apart into prose, code blocks and code spans."""
    text = text.split(OLD_NAMES)[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    prose = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.M | re.S)
    indented = re.findall(r"(?:(?<=\n\n)|\A)((?: {4}\S.*\n)+)", prose)
    blocks += [("", block) for block in indented]
    for block in indented:
        prose = prose.replace(block, "")
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return Parts(prose, blocks, spans)


# ---- Links and headings ----


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Return the anchors of all headings of a page."""
    text = re.sub(r"^```\w*\n.*?^```", "", page.read_text(), flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def broken_links(text: str, folder: Path, page: Path | None = None) -> list[str]:
    """Return the relative links of a page whose file or heading does not exist."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", parts(text).prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (folder / path).resolve() if path else page
        exists = target is not None and target.exists()
        if not exists or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


# ---- Commands ----


@lru_cache
def command_tree() -> Any:
    """Return the command `nightdraft` as click sees it."""
    return typer.main.get_command(app)


def command_lines(text: str) -> Iterator[str]:
    """Yield every command that begins with `nightdraft` in blocks and code spans."""
    page = parts(text)
    for language, block in page.blocks:
        if language in SHELL:
            joined = block.replace("\\\n", " ")
            for line in joined.splitlines():
                if match := re.match(r"\s*(?:\$ )?(?:\w+=\S* )*(?:.*-m )?(nightdraft .*)", line):
                    yield match[1]
    for span in page.spans:
        if match := re.match(r"(?:\w+=\S* )*(nightdraft \S.*)", span):
            yield match[1]


def command_fault(line: str) -> str | None:
    """Return what a command line names that does not exist, or None."""
    command = command_tree()
    for argument in shlex.split(line, comments=True)[1:]:
        options = {name for option in command.params for name in (*option.opts, "--help")}
        if argument.startswith("--"):
            if argument.partition("=")[0] not in options:
                return argument
        elif children := getattr(command, "commands", None):
            if argument in children:
                command = children[argument]
            elif "|" in argument and set(argument.split("|")) <= set(children):
                return None
            elif not (argument.isupper() or argument == "..."):
                return argument
    return None


# ---- Paths and names ----


@lru_cache
def defined(module: Path) -> frozenset[str]:
    """Return the names that a module defines or imports, members as `Class.member`."""
    names: set[str] = set()

    def add(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    names.add(prefix + node.name)
                case ast.ClassDef():
                    names.add(prefix + node.name)
                    add(node.body, f"{prefix}{node.name}.")
                case ast.Assign():
                    names.update(prefix + t.id for t in node.targets if isinstance(t, ast.Name))
                case ast.AnnAssign(target=ast.Name(id=name)):
                    names.add(prefix + name)
                case ast.Import() | ast.ImportFrom():
                    names.update(prefix + (a.asname or a.name) for a in node.names)
                case ast.If():
                    add(node.body, prefix)

    add(ast.parse(module.read_text()).body, "")
    return frozenset(names)


def dotted_name_exists(name: str) -> bool:
    """Return whether `package.module.name` is a module of ours or a name in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:count])
        module = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module.is_file():
            rest = ".".join(parts[count:])
            return not rest or rest in defined(module)
    return False


@lru_cache
def file_names() -> frozenset[str]:
    """Return the names of all modules of ours."""
    return frozenset(path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def missing_names(text: str) -> list[str]:
    """Return the paths, modules and dotted names of a page that do not exist."""
    page = parts(text)
    folders = "|".join(FOLDERS)
    path = re.compile(rf"(?<![\w/.-])(?:{folders})/[\w./-]*[\w/]")
    code = [*page.spans, *(block for language, block in page.blocks if language != "mermaid")]
    missing = [
        name
        for span in code
        for name in path.findall(span)
        if not ((ROOT / name).exists() or list(ROOT.glob(f"{name}*")))
    ]
    missing += [
        name
        for name in re.findall(r"(?<![\w/.-])docs/[\w./-]+\.(?:md|png)", page.prose)
        if not (ROOT / name).exists()
    ]
    for span in page.spans:
        bare = re.sub(r"\(.*\)$", "", span)
        if re.fullmatch(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+", bare):
            if not dotted_name_exists(bare):
                missing.append(bare)
        elif re.fullmatch(r"\w+\.py", bare) and bare not in file_names():
            missing.append(bare)
    return missing


def missing_functions(text: str) -> list[str]:
    """Return the names in tables of "file | function" that the file does not define."""
    missing = []
    table = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[-2:] == ["file", "function"]:
            table = True
        elif not line.startswith("|"):
            table = False
        elif table and (file := re.search(r"`([\w/]+\.py)`", cells[-2])):
            names = defined(ROOT / file[1]) if (ROOT / file[1]).exists() else frozenset()
            missing += [
                f"{file[1]}: {name}"
                for name in re.findall(r"`([\w.]+)`", cells[-1])
                if name not in names
            ]
    return missing


def listed_modules(text: str) -> set[str]:
    """Return the modules in the tables under headings such as "### `records/workflow`"."""
    modules = set()
    for section in re.split(r"^### ", text, flags=re.M)[1:]:
        if room := re.match(r"`([\w/]+)`\n", section):
            tables = section.split("\n## ")[0]
            modules |= {f"{room[1]}/{name}" for name in re.findall(r"^\| `(\w+)` \|", tables, re.M)}
    return modules


# ---- Variables ----


@lru_cache
def variables() -> frozenset[str]:
    """Return every NIGHTDRAFT_* variable: settings, options of commands, names in the code."""
    names = {f"NIGHTDRAFT_{name.upper()}" for name in Settings.model_fields}
    names |= {variable_of_file(name) for name in secret_settings(Settings.model_fields)}
    names.update(*(commands.variables(name, option) for name, option in commands.OPTIONS))
    for path in (ROOT / "records/failpoints.py", ROOT / "tests/conftest.py"):
        names.update(re.findall(r"NIGHTDRAFT_[A-Z_]+[A-Z]", path.read_text()))
    return frozenset(names)


def missing_variables(text: str) -> list[str]:
    """Return the NIGHTDRAFT_* variables that a page names and that nothing reads."""
    named = re.findall(r"NIGHTDRAFT_[A-Z][A-Z0-9_]*[A-Z0-9](?![\w.<])", text)
    return [name for name in named if name not in variables()]


# ---- Make ----


def missing_targets(text: str) -> list[str]:
    """Return the make targets that a page names and that the Makefile does not have."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    page = parts(text)
    shell = [
        line for language, block in page.blocks if language in SHELL for line in block.split("\n")
    ]
    named = [
        match[1]
        for line in (*page.spans, *shell)
        if (match := re.match(r"\s*(?:\$ )?make ([a-z][\w-]*)", line))
    ]
    return [name for name in named if name not in targets]


# ---- The pages ----


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    """Each page in turn."""
    return Path(request.param)


def test_every_link_leads_somewhere(page: Path) -> None:
    assert not broken_links(page.read_text(), page.parent, page)


def test_every_command_and_option_exists(page: Path) -> None:
    faults = {line: command_fault(line) for line in command_lines(page.read_text())}
    assert not {line: fault for line, fault in faults.items() if fault}


def test_every_path_and_name_exists(page: Path) -> None:
    assert not missing_names(page.read_text())


def test_every_function_of_a_table_is_in_its_file(page: Path) -> None:
    assert not missing_functions(page.read_text())


def test_every_make_target_exists(page: Path) -> None:
    assert not missing_targets(page.read_text())


def test_every_variable_exists(page: Path) -> None:
    assert not missing_variables(page.read_text())


def test_every_page_can_be_reached_from_the_index() -> None:
    reached = {ROOT / "README.md"}
    waiting = [*reached]
    while waiting:
        page = waiting.pop()
        for link in re.findall(r"\]\(([^)\s#]+\.md)(?:#[^)]*)?\)", parts(page.read_text()).prose):
            target = (page.parent / link).resolve()
            if target.is_relative_to(DOCS) and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert not set(DOCS.rglob("*.md")) - reached


def test_every_module_has_a_line_on_the_architecture_page() -> None:
    page = (DOCS / "develop/architecture.md").read_text()
    listed = listed_modules(page)
    existing = {
        str(path.relative_to(ROOT).with_suffix(""))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert listed - existing == set()
    assert existing - listed == set()


# ---- The checks themselves can fail ----


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](../use/gone.md)", ["../use/gone.md"]),
        ("![a](gone.png)", ["gone.png"]),
        ("[a](architecture.md#no-such-heading)", ["architecture.md#no-such-heading"]),
        ("[a](architecture.md#where-to-look) [b](https://example.org/gone)", []),
    ],
)
def test_a_broken_link_is_found(text: str, broken: list[str]) -> None:
    assert broken_links(text, DOCS / "develop") == broken


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("```sh\nnightdraft statsu\n```\n", ["statsu"]),
        ("```sh\nNIGHTDRAFT_BUNDLE=demo nightdraft station --no-such-option 1\n```\n",
         ["--no-such-option"]),
        ("```sh\nnightdraft train both --base base \\\n    --no-such 1\n```\n", ["--no-such"]),
        ("Call `nightdraft work drafts`.", ["drafts"]),
        ("`nightdraft work sweep|prepare|draft`, `nightdraft COMMAND --help`", []),
        ("```sh\nnightdraft status --json   # all of it\n```\n", []),
        ("```python\nnightdraft gone\n```\n", []),
    ],
)  # fmt: skip
def test_a_command_that_does_not_exist_is_found(text: str, faults: list[str]) -> None:
    assert [fault for line in command_lines(text) if (fault := command_fault(line))] == faults


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`records/gone.py`", ["records/gone.py"]),
        ("```\nEngine (model/inference/gone.py)\n```\n", ["model/inference/gone.py"]),
        ("see docs/use/gone.md", ["docs/use/gone.md"]),
        ("`records.errors.gone`", ["records.errors.gone"]),
        ("`records.gone`", ["records.gone"]),
        ("`gone.py`", ["gone.py"]),
        ("`records.errors.safe_text`, `telemetry.py`, `model/inference/`, `training.corpus`", []),
    ],
)
def test_a_name_that_does_not_exist_is_found(text: str, missing: list[str]) -> None:
    assert missing_names(text) == missing


def test_the_modules_of_a_page_are_read_from_its_headings() -> None:
    rooms = "### `records`\n\n| `blobs` | x |\n\n### `records/workflow`\n\n| `holds` | x |\n\n"
    text = f"{rooms}## End\n\n| `no` | x |\n"
    assert listed_modules(text) == {"records/blobs", "records/workflow/holds"}


def test_a_function_that_is_not_in_its_file_is_found() -> None:
    head = "| to find | file | function |\n|---|---|---|\n"
    row = "| x | `records/errors.py` | `{}` |\n"
    assert not missing_functions(head + row.format("safe_text"))
    assert missing_functions(head + row.format("gone")) == ["records/errors.py: gone"]


def test_a_make_target_that_does_not_exist_is_found() -> None:
    assert missing_targets("`make test`, `make demo ONCE=1`, `make gone`") == ["gone"]


def test_a_variable_that_nothing_reads_is_found() -> None:
    text = "`NIGHTDRAFT_BUNDLE`, `NIGHTDRAFT_SEND_HOST`, `NIGHTDRAFT_GONE`"
    assert missing_variables(text) == ["NIGHTDRAFT_GONE"]
