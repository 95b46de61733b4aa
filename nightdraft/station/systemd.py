"""The files with which systemd runs Nightdraft: units, its user, its folders, its settings.

With servers of its own the station is one unit, which runs all parts. With a database and a Redis
that others run, each process is a unit. Nothing here touches the machine: the files are returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from nightdraft.station.station import SHUTDOWN_ORDER, supervised_parts
from nightdraft.station.supervisor import GRACE_SECONDS, SupervisedProcess
from records.config_file import DEFAULT_FILE, ConfigFileSource
from records.secret_files import SecretFileSource, variable_of_file
from records.settings import Settings
from records.settings_report import as_plain, mask

USER = "nightdraft"
DATA_DIR = Path("/var/lib/nightdraft")
_UNITS = Path("/etc/systemd/system")
_TARGET = "nightdraft.target"
_MIGRATE = "nightdraft-migrate.service"
_STOP_SECONDS = round(2 * GRACE_SECONDS)
"""After so long systemd kills. A part that was asked to end gives its work back within the half."""

_OWNER = "migration_database_url"
"""The setting with the address of the tables' owner, and the name of its credential."""

_FIRST_FREE_PORT = 1024
"""Lower ports need a right of root's."""

_HARDENING: dict[str, str] = {
    "NoNewPrivileges": "yes",
    "PrivateTmp": "yes",
    "ProtectSystem": "strict",
    "ProtectControlGroups": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectClock": "yes",
    "ProtectProc": "invisible",
    "KeyringMode": "private",
    "ProtectHostname": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "LockPersonality": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "@system-service",
    "UMask": "0077",
}
"""What a part cannot do even if somebody breaks into it (systemd.exec(5)). PyTorch and the codecs
write code while they run, so memory may be written and executed."""


@dataclass(frozen=True)
class InstallFile:
    """A file of the installation.

    Attributes:
        path: Where it belongs.
        content: Its text.
        mode: Its permissions.
        shown: The text without passwords, where it may hold some.
    """

    path: Path
    content: str
    mode: int = 0o644
    shown: str = ""


def install_files(settings: Settings, program: Path) -> list[InstallFile]:
    """Return the files that let systemd run Nightdraft with these settings.

    Args:
        settings: The settings; those that are no defaults go into the configuration file.
        program: The command `nightdraft`.
    """
    secret_files = ConfigFileSource(Settings).secret_files | SecretFileSource(Settings).files
    # Not the default of whoever asks, which may be a folder in a home.
    data_dir = settings.data_dir if "data_dir" in settings.model_fields_set else DATA_DIR
    values = {"data_dir": str(data_dir)} | {
        name: as_plain(getattr(settings, name))
        for name in Settings.model_fields
        if name in settings.model_fields_set and name not in secret_files
    }
    # Commands that a person runs as the service's user read the other secrets, too.
    owner_file = secret_files.pop("migration_database_url", None)
    values |= {f"{name}_file": str(path) for name, path in secret_files.items()}
    unit = _UnitWriter(settings, program, data_dir, owner_file)
    units = list(unit.parts()) if settings.database_url else [unit.station()]
    names = [file.path.name for file in units]
    return [
        InstallFile(
            Path("/etc/sysusers.d/nightdraft.conf"),
            f'u {USER} - "Nightdraft" {_quoted(str(data_dir))} -\n',
        ),
        InstallFile(
            Path("/etc/tmpfiles.d/nightdraft.conf"),
            f"d {_quoted(str(data_dir))} 0700 {USER} {USER} -\n"
            f"d {DEFAULT_FILE.parent} 0750 root {USER} -\n"
            f"z {DEFAULT_FILE} 0640 root {USER} -\n",
        ),
        InstallFile(
            DEFAULT_FILE,
            _config_file(values),
            0o640,
            shown=_config_file({name: mask(name, value) for name, value in values.items()}),
        ),
        InstallFile(_UNITS / _TARGET, _target(names)),
        *units,
    ]


def _config_file(values: Mapping[str, object]) -> str:
    head = "# Settings of Nightdraft; docs/operate/settings.md lists all of them."
    return f"{head}\n{tomli_w.dumps(values)}"


def _target(units: Iterable[str]) -> str:
    return _unit(
        Unit={
            "Description": "Nightdraft, which drafts chest X-ray reports",
            "Wants": " ".join(units),
        },
        Install={"WantedBy": "multi-user.target"},
    )


class _UnitWriter:
    """Writes units for one machine."""

    def __init__(
        self, settings: Settings, program: Path, data_dir: Path, owner_file: Path | None
    ) -> None:
        self._owner_file = owner_file
        self._settings = settings
        self._program = program
        self._data_dir = data_dir

    def station(self) -> InstallFile:
        """The one unit of a station with servers of its own."""
        return self._service(
            "nightdraft-station.service",
            "Nightdraft: all parts, PostgreSQL and Valkey",
            ("station",),
            part="station",
            after=["network-online.target"],
            # The station ends its parts one after the other, and then the servers.
            stop_seconds=3 * _STOP_SECONDS,
        )

    def parts(self) -> Iterator[InstallFile]:
        """The tables' migration, and a unit for each process."""
        yield self._service(
            _MIGRATE,
            "Nightdraft: the tables of this version",
            ("migrate",),
            part="migrate",
            after=["network-online.target", "postgresql.service"],
            oneshot=True,
        )
        processes = supervised_parts(self._settings)
        # systemd stops in the reverse order: what is to end first starts after what ends later.
        last_to_stop = [p for p in processes if p.part not in SHUTDOWN_ORDER[0]]
        for process in processes:
            after = [_MIGRATE, "redis.service", "valkey.service"]
            if process.part in SHUTDOWN_ORDER[0]:
                after += [_unit_name(other) for other in last_to_stop]
            yield self._service(
                _unit_name(process),
                f"Nightdraft: {process.label}",
                process.command,
                part=process.part,
                after=after,
                env=process.env,
            )

    def _service(
        self,
        name: str,
        description: str,
        command: Iterable[str],
        *,
        part: str,
        after: list[str],
        env: Mapping[str, str] | None = None,
        oneshot: bool = False,
        stop_seconds: int = _STOP_SECONDS,
    ) -> InstallFile:
        words = [str(self._program), *command]
        service: dict[str, str | list[str]] = {
            "Type": "oneshot" if oneshot else "exec",
            "User": USER,
            "Group": USER,
            "Environment": [_quoted(f"{key}={value}") for key, value in (env or {}).items()]
            + self._credential_variables(part),
            **self._credentials(part),
            "ExecStart": " ".join(_quoted(word.replace("$", "$$")) for word in words),
            "SyslogIdentifier": name.removesuffix(".service"),
            "TimeoutStopSec": str(stop_seconds),
        }
        if oneshot:
            # A migration of millions of rows takes as long as it takes, and the database may come
            # up after this machine.
            service |= {"RemainAfterExit": "yes", "TimeoutStartSec": "infinity"}
            service |= {"Restart": "on-failure", "RestartSec": "5"}
        else:
            service |= {"Restart": "always", "RestartSec": "2", "LimitNOFILE": "65536"}
            # The part's own children end with it; what is left then is killed.
            service |= {"KillMode": "mixed"}
        service |= self._hardening(part)
        unit: dict[str, str | list[str]] = {
            "Description": description,
            "Documentation": "man:systemd.service(5)",
            "Wants": "network-online.target",
            "After": " ".join(after),
            "PartOf": _TARGET,
            # A part that cannot start, as while the database is away, is tried for ever. So no
            # part requires the migration: systemd would give a part up when the migration fails
            # once. Each part itself refuses tables of another version.
            "StartLimitIntervalSec": "0",
        }
        return InstallFile(
            _UNITS / name,
            _unit(Unit=unit, Service=service, Install={"WantedBy": _TARGET}),
        )

    def _credentials(self, part: str) -> dict[str, str]:
        """The password of the tables' owner, for migrations alone: only root reads its file."""
        if part != "migrate" or self._owner_file is None:
            return {}
        return {"LoadCredential": f"{_OWNER}:{str(self._owner_file).replace('%', '%%')}"}

    def _credential_variables(self, part: str) -> list[str]:
        # %d is the folder of the unit's credentials (systemd.unit(5)).
        return [f"{variable_of_file(_OWNER)}=%d/{_OWNER}"] if self._credentials(part) else []

    def _hardening(self, part: str) -> dict[str, str]:
        limits = dict(_HARDENING)
        limits["ReadWritePaths"] = _quoted(str(self._data_dir))
        homes = [Path("/home"), Path("/root"), Path("/run/user")]
        needed = [self._program, Path(self._settings.bundle or "/"), self._data_dir]
        in_home = any(path.is_relative_to(home) for path in needed for home in homes)
        limits["ProtectHome"] = "read-only" if in_home else "yes"
        ports = {"listener": self._settings.listen_port, "hl7": self._settings.hl7_port}
        opened = ports.values() if part == "station" else [ports.get(part, 0)]
        low_port = any(0 < port < _FIRST_FREE_PORT for port in opened)
        limits["CapabilityBoundingSet"] = "CAP_NET_BIND_SERVICE" if low_port else ""
        limits["AmbientCapabilities"] = "CAP_NET_BIND_SERVICE" if low_port else ""
        # A GPU is a device, and its driver also asks the kernel about devices.
        limits["PrivateDevices"] = "no" if part in ("draft", "station") else "yes"
        if part == "prepare":
            # Strangers' images are decoded here: of all parts it goes first where memory runs out.
            limits["OOMScoreAdjust"] = "500"
        return limits


def _unit_name(process: SupervisedProcess) -> str:
    return f"nightdraft-{process.label.replace(' ', '-')}.service"


def _unit(**sections: Mapping[str, str | list[str]]) -> str:
    """The text of a unit. A list is one line each."""
    blocks = []
    for name, values in sections.items():
        lines = [f"[{name}]"]
        for key, value in values.items():
            lines += [f"{key}={each}" for each in ([value] if isinstance(value, str) else value)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _quoted(word: str) -> str:
    """A word of a unit (systemd.syntax(7)) or of tmpfiles.d; as it is where that is safe."""
    word = word.replace("%", "%%")  # begins a specifier
    if not any(letter.isspace() or letter in "\"'\\" for letter in word) and word:
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def left_over_units(root: Path, files: Iterable[InstallFile]) -> list[Path]:
    """Return units of ours under `root` that an earlier installation wrote, and this one does not.

    They come from other settings: servers of its own, more GPUs or more listener processes.
    """
    written = {root / file.path.relative_to("/") for file in files}
    return sorted(set((root / _UNITS.relative_to("/")).glob("nightdraft-*.service")) - written)


def find_program(executable: str) -> Path:
    """The command `nightdraft` beside this Python.

    Raises:
        FileNotFoundError: There is none, as where the code is run from a folder.
    """
    # Not resolved: the Python of an environment is a link to another one.
    program = Path(executable).absolute().with_name("nightdraft")
    if not program.is_file():
        raise FileNotFoundError(program)
    return program
