"""Writes docs/operate/settings.md out of the settings that the software has.

python -m tools.settings_page > docs/operate/settings.md
"""

from __future__ import annotations

import sys

from pydantic import JsonValue, SecretStr
from pydantic.fields import FieldInfo

from records.settings import ADVANCED, EVERYDAY, Settings
from records.states import Priority


def settings_page() -> str:
    """The text of docs/operate/settings.md: two tables, with a row for each setting."""
    return f"""# Settings

Each is an environment variable; a command's option of the same name wins over it.
This page is made by `python -m tools.settings_page > docs/operate/settings.md`; a test
compares them.

## Everyday

A site chooses these when it sets Nightdraft up.

{_table(EVERYDAY)}

## Advanced

The defaults suit almost every site.

{_table(ADVANCED)}
"""


def _table(mark: dict[str, JsonValue]) -> str:
    rows = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        if field.json_schema_extra == mark:
            variable = f"NIGHTDRAFT_{name.upper()}"
            rows.append(f"| `{variable}` | {_default_text(name, field)} | {field.description} |")
    return "\n".join(rows)


def _default_text(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return "`/var/lib/nightdraft` for root, else `~/.local/share/nightdraft`"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Priority):
        value = value.name
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "empty" if value in ("", (), {}) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
