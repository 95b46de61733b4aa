"""A bare Debian with systemd, booted in a container that debootstrap fills; for slow proofs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import eventually

SUITE = "bookworm"


@dataclass
class DebianMachine:
    """A booted machine, whose loopback is its own.

    Attributes:
        root: its root folder, seen from this machine.
        init: its first process.
    """

    root: Path
    init: psutil.Process

    def run(
        self, script: str, *, check: bool = True, seconds: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root in the machine; its output is returned.

        Raises:
            AssertionError: the script failed, and `check` is set.
        """
        done = subprocess.run(
            ["nsenter", "-t", str(self.init.pid), "-m", "-u", "-i", "-p", "-n", "-r", "-w",
             "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8",
             "COLUMNS=200", "bash", "-ec", script],
            capture_output=True, text=True, check=False, timeout=seconds,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done

    def nightdraft(self, arguments: str, *, check: bool = True) -> str:
        """Run `nightdraft` as its user in the machine, and return what it printed."""
        command = f"runuser -u nightdraft -- /opt/nightdraft/bin/nightdraft {arguments}"
        return self.run(command, check=check).stdout


def skip_without_programs() -> None:
    """Skip the test where no such machine can be made."""
    missing = [
        program for program in ("debootstrap", "systemd-nspawn", "nsenter")
        if shutil.which(program) is None
    ]  # fmt: skip
    if missing or os.geteuid() != 0:
        pytest.skip("needs root, debootstrap and systemd-container (apt install both)")


@contextmanager
def made_root(files: Sequence[Path]) -> Iterator[Path]:
    """A bare Debian in a folder that goes again, with these files in /root."""
    root = Path(tempfile.mkdtemp(prefix="nightdraft-debian-"))
    root.chmod(0o755)  # it is the machine's /, which its other users must enter, too
    try:
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus", SUITE,
             root],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        (root / "etc/apt/apt.conf.d/90yes").write_text('APT::Get::Assume-Yes "true";\n')
        for file in files:
            copy = shutil.copytree if file.is_dir() else shutil.copy
            copy(file, root / "root" / file.name)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        yield root
    finally:
        shutil.rmtree(root)


def run_before_boot(root: Path, script: str) -> None:
    """Run a script in the machine's root while it still has this machine's network.

    Python's packages come from the folder `wheels` in /root, and from nowhere else.
    """
    done = subprocess.run(
        ["systemd-nspawn", "-q", "-D", root, "--register=no", "--keep-unit", "--resolv-conf=off",
         "--setenv=PIP_NO_INDEX=1", "--setenv=PIP_FIND_LINKS=/root/wheels",
         "--setenv=DEBIAN_FRONTEND=noninteractive", "bash", "-ec", f"cd /root\n{script}"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


@contextmanager
def booted(root: Path, *options: str) -> Iterator[DebianMachine]:
    """Boot the machine, without any network but its loopback."""
    with tempfile.TemporaryFile() as console:
        container = subprocess.Popen(
            ["systemd-nspawn", "-D", root, "--register=no", "--keep-unit", "--boot",
             "--resolv-conf=off", "--private-network", *options],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console,
        )  # fmt: skip
        try:
            machine = DebianMachine(root, eventually(lambda: _first_process(container.pid), 60))
            eventually(
                lambda: "running" in machine.run("systemctl is-system-running", check=False).stdout,
                120,
            )
            yield machine
        finally:
            container.send_signal(signal.SIGTERM)  # it powers the machine off
            try:
                container.wait(120)
            except subprocess.TimeoutExpired:
                container.kill()
                container.wait()


def _first_process(container: int) -> psutil.Process | None:
    for process in psutil.Process(container).children(recursive=True):
        if Path(process.name()).name == "systemd":
            return process
    return None
