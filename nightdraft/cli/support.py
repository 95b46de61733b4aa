"""`nightdraft support-bundle`: what somebody needs who helps, without patients and secrets.

Nothing is copied as it is. Settings are listed without their secrets; of log files only lines that
our own logger wrote are taken, for other lines (a traceback, a warning of a library) may quote a
patient. Rows of studies are counted and never read.
"""

from __future__ import annotations

import platform
import re
import zipfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from nightdraft.cli.json_output import AsJson, as_json, print_json
from nightdraft.cli.options import app
from records.errors import NightdraftError, NotAllowed, safe_text
from records.secret_files import secret_settings
from records.settings import Settings, settings
from records.settings_report import MASK, report_settings

LOG_LINES = 500
"""Lines of each log file, the last ones."""

_PACKAGES = ("torch", "transformers", "sqlalchemy", "celery", "redis", "pynetdicom", "pydicom")

_OUR_LINE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S* \[(debug|info|warning|error) *\] ")
"""How a line of our logger begins; one of another library has the field `library`, too."""

_README = """\
What this archive holds: versions, settings without secrets, the lines of `nightdraft doctor`, the
state of the system as numbers, the newest alarms, the metrics, and the last lines of the logs.
It holds no patient, no study and no password. Look through it before you send it all the same.
"""


@app.command("support-bundle")
def support_bundle(
    out: Annotated[Path, typer.Option(help="The archive to write.")] = Path(
        "nightdraft-support.zip"
    ),
    logs: Annotated[
        Path | None,
        typer.Option(help="Folder of the parts' logs; else `logs` of the data folder."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Write an archive for somebody who helps: versions, settings, lights, logs; no patients."""
    config = settings()
    if out.exists():
        raise NotAllowed(f"{out} is there already: name another file with --out")
    parts: dict[str, Callable[[], object]] = {
        "versions.json": _versions,
        "settings.json": lambda: _settings(config),
        "doctor.json": lambda: _doctor(config),
        "state.json": _state,
        "alarms.json": _alarms,
        "metrics.txt": lambda: _metrics(config),
    }
    out.touch(mode=0o600)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", _README)
        for name, make in parts.items():
            try:
                content = make()
            except Exception as error:  # what is broken is why somebody asks for help
                content = {"not available": safe_text(error)}
            text = content if isinstance(content, str) else as_json(content)
            archive.writestr(name, _without_secrets(text, config))
        for path in sorted((logs or config.data_dir / "logs").glob("*.log")):
            archive.writestr(f"logs/{path.name}", _without_secrets(_last_lines(path), config))
        names = archive.namelist()
    if json:
        print_json({"archive": out, "files": names})
    else:
        print(f"{out}: {', '.join(names)}")


def _settings(config: Settings) -> list[dict[str, object]]:
    """The settings with their secrets masked, and whose mail addresses are not shown."""
    return [
        {
            "name": report.name,
            "value": MASK if report.value and "mail" in report.name else report.value,
            "from": report.origin,
        }
        for report in report_settings(config)
    ]


def _versions() -> dict[str, object]:
    found: dict[str, object] = {
        "nightdraft": version("nightdraft"),
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _doctor(config: Settings) -> list[dict[str, object]]:
    from nightdraft.doctor import run_checks

    return [
        {
            "line": result.name,
            "verdict": "WRONG" if result.failed else "warning" if result.warning else "ok",
            "sentence": result.sentence,
        }
        for result in run_checks(config)
    ]


def _state() -> dict[str, Any]:
    from nightdraft.cli.status import overview_json
    from records.database.session import snapshot
    from records.operations.overview import read_overview
    from records.operations.tonight import read_tonight

    with snapshot() as session:
        overview = read_overview(session)
        tonight = read_tonight(session, settings(), overview.workload, overview.parts)
        return overview_json(overview, tonight)


def _alarms() -> object:
    from nightdraft.cli.alarms import history_json
    from records.database.session import snapshot
    from records.operations.troubles import list_history

    with snapshot() as session:
        return history_json(list_history(session, 100))


def _metrics(config: Settings) -> str:
    from prometheus_client import CollectorRegistry, generate_latest

    from api.metrics import SystemCollector

    registry = CollectorRegistry(auto_describe=False)
    registry.register(SystemCollector(config))
    return generate_latest(registry).decode()


def _last_lines(path: Path) -> str:
    """The last lines of a log, those of our logger alone; how many others there were."""
    from worker.alarm_messages import without_identifiers

    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = deque(file, LOG_LINES)
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})\n"
    ours = [without_identifiers(line) for line in lines if _is_ours(line)]
    left_out = f"# {len(lines) - len(ours)} lines of others were left out\n"
    return left_out + "".join(ours)


def _is_ours(line: str) -> bool:
    from records.telemetry import FIELDS, JSON_NAMES

    if _OUR_LINE.match(line):
        return " library=" not in line
    try:
        content = loads(line)
    except ValueError:
        return False
    if not isinstance(content, dict) or "library" in content:
        return False
    return "message" in content and set(content) <= {JSON_NAMES.get(name, name) for name in FIELDS}


def _without_secrets(text: str, config: Settings) -> str:
    """The text without any secret of the settings, wherever it got into it."""
    for secret in _secrets(config):
        text = text.replace(secret, "[secret]")
    return text


def _secrets(config: Settings) -> list[str]:
    from urllib.parse import parse_qsl, unquote, urlsplit

    secrets = []
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, SecretStr):
            secrets.append(value.get_secret_value())
        elif "password" in name:
            secrets.append(str(value))
    addresses = [str(getattr(config, name)) for name in secret_settings(type(config).model_fields)]
    for name in ("database_url", "redis_url"):
        with suppress(NightdraftError):
            addresses.append(config.address(name))  # type: ignore[arg-type]
    for address in addresses:
        # A password may be in a query, too, and an address may be wrong in any way.
        passwords = [value for key, value in parse_qsl(urlsplit(address).query) if "pass" in key]
        with suppress(ValueError):
            passwords.append(urlsplit(address).password or "")
        user, at, _ = address.partition("://")[2].rpartition("@")
        passwords += [user.partition(":")[2]] if at else []
        secrets += [form for password in passwords for form in (password, unquote(password))]
    if config.alarm_webhook_url:
        secrets.append(config.alarm_webhook_url)
    # The longest first: a short one may be a part of another one.
    return sorted({secret for secret in secrets if len(secret) > 3}, key=len, reverse=True)
