"""`nightdraft install` and `nightdraft constraints`: what an installation is made from."""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from nightdraft.cli.options import app
from records.errors import NotAllowed
from records.settings import settings

_NEXT_STEPS = """
Next, as root:
  systemd-sysusers && systemd-tmpfiles --create nightdraft.conf
  systemctl daemon-reload
  systemctl enable --now nightdraft.target
"""


@app.command()
def install(
    print_: Annotated[
        bool,
        typer.Option(
            "--print",
            envvar="NIGHTDRAFT_INSTALL_PRINT",
            allow_from_autoenv=False,
            help="Print the files, and write nothing.",
        ),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write the files under this folder; / is this machine."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace files that are there and differ.")
    ] = False,
) -> None:
    """Write the files with which systemd runs Nightdraft, for the settings in effect.

    Where NIGHTDRAFT_DATABASE_URL is set each part is a unit; otherwise one unit runs the station
    with servers of its own.
    """
    from nightdraft.station.systemd import find_program, install_files, left_over_units

    if print_ == (to is not None):
        raise NotAllowed("say either --print, or --to FOLDER (such as --to / on this machine)")
    try:
        program = find_program(sys.executable)
    except FileNotFoundError as error:
        raise NotAllowed(
            f"there is no command at {error}: install Nightdraft into an environment of its own "
            "first (docs/operate/install.md)"
        ) from None
    made = install_files(settings(), program)
    if to is None:
        for file in made:
            print(f"# ---- {file.path}, mode {file.mode:04o} ----")
            print(file.shown or file.content)
        return
    places = {file: to / file.path.relative_to("/") for file in made}
    different = [
        place
        for file, place in places.items()
        if place.exists() and place.read_text() != file.content
    ]
    if different and not replace:
        raise NotAllowed(
            f"nothing is written, for these files are there and differ: "
            f"{', '.join(map(str, different))}; --replace replaces them"
        )
    for file, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(place.name + ".new")
        fresh.touch(mode=0o600)
        fresh.write_text(file.content)
        fresh.chmod(file.mode)
        if place.exists():  # as systemd-tmpfiles gave it to the group of the service
            os.chown(fresh, place.stat().st_uid, place.stat().st_gid)
        fresh.rename(place)
        print(place)
    if left_over := left_over_units(to, made):
        print(
            "\nThese units are of an earlier installation. Stop them before you start the new ones:"
        )
        print(f"  systemctl disable --now {' '.join(unit.name for unit in left_over)}")
        print(f"  rm {' '.join(map(str, left_over))}")
    print(_NEXT_STEPS, end="")


@app.command()
def constraints() -> None:
    """Print the exact versions of all libraries, as pip's -c takes them.

    `nightdraft constraints > constraints.txt` and then
    `pip install -c constraints.txt 'nightdraft[train]'` adds an extra with the tested versions.
    """
    print((files("nightdraft") / "constraints.txt").read_text("utf-8"), end="")
