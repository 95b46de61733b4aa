"""The tables' history (Alembic). One file a change; one that has landed is never edited."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine


def config(engine: Engine | None = None) -> Config:
    """Alembic's configuration; there is no alembic.ini to keep in step."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent))
    if engine is not None:
        made.attributes["engine"] = engine
    return made


def upgrade(engine: Engine | None = None, revision: str = "head") -> None:
    """Bring the database to the newest tables; nothing happens where it is there already."""
    command.upgrade(config(engine), revision)


def downgrade(engine: Engine | None = None, revision: str = "base") -> None:
    """Take migrations back."""
    command.downgrade(config(engine), revision)


def head() -> str:
    """The newest revision that this software knows."""
    newest = ScriptDirectory.from_config(config()).get_current_head()
    if newest is None:
        raise RuntimeError("the migrations folder is empty")
    return newest
