"""The proof of the installation reads its commands out of the pages, which must have them."""

from __future__ import annotations

from tests.prove import test_install


def test_the_pages_have_the_commands_that_the_proof_runs() -> None:
    assert len(test_install.STEPS) == 4
    assert "nightdraft install --to /" in test_install.STEPS[1]
    assert [line.split()[:2] for line in test_install.BACKUP_COMMANDS] == [
        ["nightdraft", "backup"],
        ["export", "NIGHTDRAFT_BACKUP_KEY_FILE=/etc/nightdraft/backup.key"],
        ["nightdraft", "backup"],
        ["nightdraft", "restore"],
    ]


def test_a_database_of_ones_own_has_a_role_for_the_tables_and_one_for_the_parts() -> None:
    lines = test_install.OWN_SERVERS.splitlines()
    assert lines[0].startswith("apt install ")  # the proof runs it before the machine boots
    roles = [line.split("CREATE ROLE ")[1].split()[0] for line in lines if "CREATE ROLE" in line]
    assert roles == ["nightdraft_owner", "nightdraft"]
    assert any("createdb --owner nightdraft_owner nightdraft" in line for line in lines)
    owner_file = "/etc/nightdraft/owner_url"
    assert f"export NIGHTDRAFT_MIGRATION_DATABASE_URL_FILE={owner_file}" in lines
    assert f"install -m 600 /dev/null {owner_file}" in lines
    assert any("DATABASE_URL=postgresql://nightdraft:" in line for line in lines)
