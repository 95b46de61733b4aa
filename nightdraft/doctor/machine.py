"""Checks this machine: who runs what, files, disk, bundle and station."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from nightdraft.doctor.results import CheckWarning
from nightdraft.station import checks
from nightdraft.station.privileges import reason_to_stay_root
from nightdraft.station.station import read_addresses
from nightdraft.station.waits import read_waits
from records.config_file import ConfigFileSource
from records.errors import PartError
from records.settings import Settings
from records.settings_report import holds_secrets

DISK_WARN_DAYS = 7.0
"""A disk that is full sooner than that is a warning."""


def check_user(settings: Settings) -> str:
    """Check that what strangers send is not read as root."""
    if os.geteuid() != 0:
        return f"not root (user id {os.geteuid()})"
    if reason := reason_to_stay_root(settings):
        raise CheckWarning(
            f"parts that root starts stay root, so root reads what strangers send: {reason}"
        )
    return "root; the parts that it starts become another user"


def check_settings() -> str:
    """Check that a configuration file with a password is not for everybody to read."""
    file = ConfigFileSource(Settings)
    if file.path is None:
        return "no configuration file; environment and defaults"
    if holds_secrets(file.values) and file.path.stat().st_mode & stat.S_IROTH:
        raise CheckWarning(
            f"{file.path} holds a password and everybody on this machine may read it: "
            f"chmod o-r {file.path}"
        )
    return f"{file.path} sets {len(file.values)}; `nightdraft settings show` lists all"


def check_data_folder(settings: Settings) -> str:
    """Check that the data folder can be written to, and that nobody else reads the images."""
    folder = settings.data_dir
    if not folder.is_dir():
        raise PartError(
            f"{folder} does not exist: start `nightdraft station`, which makes it, or set "
            "NIGHTDRAFT_DATA_DIR"
        )
    blobs = folder / "blobs"
    written = blobs if blobs.is_dir() else folder
    if problem := checks.folder_problem(written):
        raise PartError(f"{written} cannot be written to ({problem}): correct its owner or mode")
    if blobs.is_dir() and blobs.stat().st_mode & 0o077:
        raise CheckWarning(
            f"{blobs} holds patients' images and is open to others: chmod 700 {blobs}"
        )
    return str(folder)


def check_disk(settings: Settings) -> str:
    """Check how much room is left."""
    if warning := checks.check_disk(settings):
        raise CheckWarning(warning)
    return f"more than {settings.disk_warn_mb} MB are free"


def check_disk_lasts(settings: Settings) -> str:
    """Check for how many days the disk lasts at the present pace."""
    from nightdraft.disk_outlook import read_disk
    from records.database.session import snapshot

    with snapshot() as session:
        disk = read_disk(session, settings)
    if disk.days_left is not None and disk.days_left < DISK_WARN_DAYS:
        raise CheckWarning(
            f"{disk.sentence} Make room, or let films go sooner: `nightdraft retention show`"
        )
    return disk.sentence


def check_bundle(settings: Settings) -> str:
    """Check that the bundle is there and fits its manifest."""
    bundle = settings.bundle
    if not bundle:
        # An option of the running station may have named the bundle.
        with suppress(PartError):
            bundle = str(read_addresses(settings.data_dir).get("bundle", ""))
    return checks.check_bundle(bundle)


def check_station(settings: Settings) -> str:
    """Check that the station waits for nothing."""
    if waits := read_waits(settings.data_dir):
        raise PartError(
            "it waits, and goes on by itself: "
            + "; ".join(f"for {name}: {sentence}" for name, sentence in waits.items())
        )
    try:
        return f"runs as process {read_addresses(settings.data_dir)['pid']}, and waits for nothing"
    except PartError:
        return f"none runs on {settings.data_dir}"
