"""`nightdraft constraints`: the library versions that this version was tested with."""

from __future__ import annotations

from importlib.resources import files

from nightdraft.cli.options import app


@app.command()
def constraints() -> None:
    """Print the exact versions of all libraries, as pip's -c takes them.

    `nightdraft constraints > constraints.txt` and then
    `pip install -c constraints.txt 'nightdraft[train]'` adds an extra with the tested versions.
    """
    print((files("nightdraft") / "constraints.txt").read_text("utf-8"), end="")
