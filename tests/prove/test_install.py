"""A bare Debian is installed as docs/operate/install.md says, drafts a night, and is broken.

The commands are read out of the pages. systemd is a real one, in a container that has no network.
Slow; `make prove-install`. The results are in docs/develop/chaos.md.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian_machine import (
    DebianMachine,
    booted,
    made_root,
    run_before_boot,
    skip_without_programs,
)
from tests.support.doc_commands import code_blocks
from tests.support.paths import ROOT
from tests.support.waiting import eventually

INSTALL = "docs/operate/install.md"
BACKUP = "docs/operate/backup.md"
STUDIES = 200
BUNDLE = "/srv/bundles/ours"
STEPS = code_blocks(INSTALL, "On the machine itself, with systemd")
OWN_SERVERS = code_blocks(INSTALL, "With a PostgreSQL and a Redis of your own")[0]
BACKUP_COMMANDS = [
    line.partition("  #")[0]
    for line in code_blocks(BACKUP, "Back up, restore, move")[0].splitlines()
]
SETTINGS = """
export NIGHTDRAFT_QUIET_SECONDS=2 NIGHTDRAFT_LEASE_SECONDS=10 NIGHTDRAFT_SWEEP_SECONDS=1
export NIGHTDRAFT_DISK_WARN_MB=600 NIGHTDRAFT_DISK_STOP_MB=300
"""
"""The night is a short one, on a small disk."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, its constraints and all that it needs."""
    (wheel,) = (ROOT / "dist").glob("nightdraft-*.whl")
    folder = tmp_path_factory.mktemp("packages") / "wheels"
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "-d", folder, "-c",
         ROOT / "constraints.txt", f"{wheel}[embedded]",
         "async-timeout"],  # Debian 12's Python asks for it, which is older than most
        check=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module", params=["its own servers", "PostgreSQL and Redis of Debian"])
def machine(request: pytest.FixtureRequest, wheels: Path) -> Iterator[DebianMachine]:
    """A machine on which Nightdraft was installed and started, command by command."""
    skip_without_programs()
    own_servers = request.param != "its own servers"
    (wheel,) = (ROOT / "dist").glob("nightdraft-*.whl")
    put_there, write_files, start, _ = STEPS
    with made_root([wheel, ROOT / "constraints.txt", wheels]) as root:
        shutil.copytree(ROOT / "model/bundles/phantoms", root / BUNDLE.removeprefix("/"))
        run_before_boot(root, f"apt update\n{put_there}\napt install rsync")
        before = ""
        if own_servers:
            install, before = OWN_SERVERS.split("\n", 1)
            run_before_boot(root, install)
        shutil.rmtree(root / "root/wheels")
        with booted(root, "--tmpfs=/var/lib/nightdraft:size=1500M,mode=0755") as machine:
            machine.run(f"cd /root\n{SETTINGS}{before}\n{write_files}")
            machine.run(start.replace("runuser", "true || runuser"))
            eventually(lambda: is_well(machine), 120)
            yield machine
            machine.run("systemctl stop 'nightdraft*'")
            left = machine.run("systemctl list-units 'nightdraft*' --state=active --no-legend")
            assert left.stdout == ""


def is_well(machine: DebianMachine) -> bool:
    """Whether doctor finds nothing wrong; what it found otherwise is the error."""
    wrong = {name: sentence for name, (is_ok, sentence) in checks(machine).items() if not is_ok}
    assert not wrong, wrong
    return True


def checks(machine: DebianMachine) -> dict[str, tuple[bool, str]]:
    """Doctor's checks: whether each is well, and its sentence."""
    readiness = json.loads(machine.nightdraft("doctor --json", check=False))
    return {check["name"]: (check["ok"], check["sentence"]) for check in readiness["checks"]}


def counts(machine: DebianMachine) -> dict[str, int]:
    status = json.loads(machine.nightdraft("status --json"))
    return {state: count for state, count in status["counts"]["states"].items() if count}


def alarm_kinds(machine: DebianMachine) -> set[str]:
    alarms = json.loads(machine.nightdraft("alarms --json"))
    return {alarm["kind"] for alarm in alarms if alarm["closed_at"] is None}


def has_own_servers(machine: DebianMachine) -> bool:
    return "postgresql" in machine.run("ls /etc").stdout.split()


def pids(machine: DebianMachine, words: str) -> list[str]:
    """The processes of the service's user whose command has these words, as the machine counts."""
    script = (
        "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null"
        f" | grep -q -- '{words}' && stat -c '%U {{}}' $p 2>/dev/null | grep -q nightdraft"
        " && basename $p; done; true"
    )
    return machine.run(script).stdout.split()


def send(machine: DebianMachine, studies: int, *, check: bool = True) -> str:
    machine.run("rm -rf /tmp/phantoms")
    program = "/opt/nightdraft/bin/nightdraft"
    machine.run(f"{program} phantoms /tmp/phantoms --studies {studies} --size 512")
    return machine.run(f"{program} send /tmp/phantoms --calling XRAY1", check=check).stdout


def test_the_films_of_the_page_are_drafted(machine: DebianMachine) -> None:
    machine.run(STEPS[3])
    eventually(lambda: counts(machine) == {"DRAFTED": 3}, 120)


def test_a_night_in_which_processes_are_killed(machine: DebianMachine) -> None:
    before = counts(machine)["DRAFTED"]
    send(machine, STUDIES)
    for words in ("work draft", "work prepare", "nightdraft listen", "postgres: ", "work sweep"):
        found = pids(machine, words)
        if found:  # PostgreSQL of Debian has a user of its own
            machine.run(f"kill -9 {found[0]}")
        machine.run("sleep 3")
    station = machine.run(
        "systemctl show -p MainPID --value nightdraft-station", check=False
    ).stdout.strip()
    if station not in ("", "0"):
        machine.run(f"kill -9 {station}")
    eventually(lambda: counts(machine) == {"DRAFTED": before + STUDIES}, 600)


def test_a_backup_is_restored_as_the_page_says(machine: DebianMachine) -> None:
    before = counts(machine)["DRAFTED"]
    *make, check = BACKUP_COMMANDS
    with_program = "PATH=/opt/nightdraft/bin:$PATH"
    machine.run("\n".join(["mkdir -p /srv/backup", with_program, *make]))
    (file,) = machine.run("ls /srv/backup/nightdraft-*").stdout.split()
    send(machine, 3)  # since the backup: gone with it, and sent again
    eventually(lambda: counts(machine) == {"DRAFTED": before + 3}, 120)
    program, verb, _, *options = check.split()
    key = "export NIGHTDRAFT_BACKUP_KEY_FILE=/etc/nightdraft/backup.key"
    assert (program, verb, options) == ("nightdraft", "restore", ["--check"])
    machine.run(f"{with_program}\n{key}\nnightdraft restore {file} --check")
    machine.run("systemctl stop 'nightdraft*'; find /var/lib/nightdraft -mindepth 1 -delete")
    if has_own_servers(machine):
        machine.run("runuser -u postgres -- dropdb nightdraft")
        machine.run(next(line for line in OWN_SERVERS.splitlines() if " createdb " in line))
    machine.run(f"{with_program}\n{key}\nnightdraft restore {file}")
    machine.run("systemctl start nightdraft.target")
    eventually(lambda: is_well(machine), 120)
    assert counts(machine) == {"DRAFTED": before}
    machine.run("/opt/nightdraft/bin/nightdraft send /tmp/phantoms --calling XRAY1")
    eventually(lambda: counts(machine) == {"DRAFTED": before + 3}, 120)


def test_a_restart_and_a_boot_without_the_database_first(machine: DebianMachine) -> None:
    own_servers = has_own_servers(machine)
    machine.run("systemctl stop 'nightdraft*'")
    if own_servers:
        machine.run("systemctl stop postgresql redis-server")
    machine.run("systemctl start --no-block nightdraft.target; sleep 10")
    if own_servers:
        machine.run("systemctl start postgresql redis-server")
    eventually(lambda: is_well(machine), 120)


def test_a_full_disk_is_mended_by_the_runbook(machine: DebianMachine) -> None:
    before = counts(machine)["DRAFTED"]
    free = int(machine.run("df --output=avail -m /var/lib/nightdraft | tail -1").stdout)
    machine.run(f"fallocate -l {free - 100}M /var/lib/nightdraft/filler")
    assert "0xA700" in send(machine, 3, check=False)
    eventually(lambda: "DISK_FULL" in alarm_kinds(machine), 120)
    # "Make room on that disk": the runbook says that the rest goes on by itself.
    machine.run("rm /var/lib/nightdraft/filler")
    machine.run("/opt/nightdraft/bin/nightdraft send /tmp/phantoms --calling XRAY1")
    eventually(lambda: counts(machine) == {"DRAFTED": before + 3}, 120)
    eventually(lambda: "DISK_FULL" not in alarm_kinds(machine), 300)


def test_a_broken_bundle_is_mended_by_the_runbook(machine: DebianMachine) -> None:
    before = counts(machine)["DRAFTED"]
    machine.run(f"cp -a {BUNDLE} {BUNDLE}.good")
    machine.run(
        f"printf x | dd of={BUNDLE}/model.safetensors bs=1 seek=5000 conv=notrunc 2>/dev/null;"
        "systemctl restart nightdraft.target"
    )
    send_until_taken(machine)
    eventually(lambda: "BUNDLE_UNUSABLE" in alarm_kinds(machine), 120)
    assert "model.safetensors" in machine.nightdraft("alarms")
    # "Copy the bundle again, whole", see it with doctor, and then resume.
    machine.run(f"rm -r {BUNDLE} && mv {BUNDLE}.good {BUNDLE}")
    eventually(lambda: checks(machine)["bundle"][0], 60)
    machine.nightdraft("resume")
    eventually(lambda: counts(machine) == {"DRAFTED": before + 3}, 300)
    eventually(lambda: "BUNDLE_UNUSABLE" not in alarm_kinds(machine), 60)


def send_until_taken(machine: DebianMachine) -> None:
    machine.run("rm -rf /tmp/phantoms")
    program = "/opt/nightdraft/bin/nightdraft"
    machine.run(f"{program} phantoms /tmp/phantoms --studies 3 --size 512")
    command = f"{program} send /tmp/phantoms --calling XRAY1"
    eventually(lambda: machine.run(command, check=False).returncode == 0, 120)
