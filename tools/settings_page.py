"""Writes docs/operate/settings.md out of the settings that the software has.

python -m tools.settings_page > docs/operate/settings.md
"""

from __future__ import annotations

import sys

from pydantic import JsonValue, SecretStr
from pydantic.fields import FieldInfo

from records.config_file import CONFIG_VARIABLE, DEFAULT_FILE
from records.secret_files import secret_settings
from records.settings import ADVANCED, EVERYDAY, Settings
from records.states import Priority


def settings_page() -> str:
    """The text of docs/operate/settings.md: two tables, with a row for each setting."""
    return f"""# Settings

Each is an environment variable. A command's option of the same name wins over the variable, the
variable over the configuration file, and the file over the default. `nightdraft settings show`
shows each value and where it is from.
This page is made by `python -m tools.settings_page > docs/operate/settings.md`; a test
compares them.

## The configuration file

`{DEFAULT_FILE}` is read where it exists. `{CONFIG_VARIABLE}` or `nightdraft --config FILE` names
another one, and `{CONFIG_VARIABLE}=` (set to nothing) says that none is read. It is TOML. A key has
the name of the variable in small letters, without `NIGHTDRAFT_`:

```toml
data_dir = "/srv/nightdraft"
database_url = "postgresql://nightdraft:password@db.example.org/nightdraft"
bundle = "/srv/bundles/ward-3"
listen_host = "0.0.0.0"
listen_port = 104
allowed_callers = ["ED_CR", "ICU"]

[caller_priorities]
ED_CR = "STAT"
```

- A key that is no setting, a value of the wrong type and a file that cannot be read are errors
  that name file and key. Nothing starts then.
- A variable that is set wins over the file, even if it is set to nothing.
- Lists and tables are written as in the example, or as the text that the variable would have.
- A part reads the file when it starts, so a change counts from the next start. The station hands
  what it has read to its parts, so that all of them have the same settings.
- A file that holds a password is for the user of the parts alone: `chown root:nightdraft`,
  `chmod 640`. `nightdraft doctor` warns of one that everybody may read. `nightdraft settings show`
  masks passwords.
- `nightdraft demo` does not read `{DEFAULT_FILE}`: its phantoms must not get
  into the records of a site.

## Secrets in files

A setting with † can lie in a file: `NIGHTDRAFT_<NAME>_FILE` names it, such as
`NIGHTDRAFT_SMTP_PASSWORD_FILE=/run/secrets/smtp_password`, and in the configuration file the key
with `_file`, such as `smtp_password_file`. The end of the line is dropped. A file that every user
can read, or that others can write, is refused ([secrets](secrets.md)).

## Everyday

A site chooses these when it sets Nightdraft up.

{_table(EVERYDAY)}

## Advanced

The defaults suit almost every site.

{_table(ADVANCED)}
"""


def _table(mark: dict[str, JsonValue]) -> str:
    in_files = secret_settings(Settings.model_fields)
    rows = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        if field.json_schema_extra == mark:
            variable = f"NIGHTDRAFT_{name.upper()}"
            text = f"{field.description}{' †' if name in in_files else ''}"
            rows.append(f"| `{variable}` | {_default_text(name, field)} | {text} |")
    return "\n".join(rows)


def _default_text(name: str, field: FieldInfo) -> str:
    if name == "data_dir":
        return "`/var/lib/nightdraft` for root, else `~/.local/share/nightdraft`"
    if name == "expected_parts":
        return "`listener, sweep, prepare, draft`, and `query` where there is somebody to ask"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Priority):
        value = value.name
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "empty" if value in ("", (), {}) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
