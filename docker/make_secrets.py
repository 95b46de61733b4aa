"""Makes the passwords of docker/compose.yaml, a file each in docker/secrets.

    python3 docker/make_secrets.py

A container's user must be able to read its files, so each file belongs to that user; for that the
program must be run as root. A file that is there stays as it is. It needs nothing but Python, and
`records/broker_rights.py` beside it.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from records.broker_rights import acl_rules  # noqa: E402

PARTS, POSTGRES, REDIS, GRAFANA = 10001, 999, 999, 472
"""User ids in the images: of our Dockerfile, and of those of postgres:18 (18/trixie/Dockerfile of
docker-library/postgres), redis:8 (debian/Dockerfile of redis/docker-library-redis) and
grafana/grafana:12 (GF_UID in Grafana's Dockerfile; its group there is 0)."""


def make(folder: Path) -> list[Path]:
    """Make the files that are missing; return those that were made.

    Args:
        folder: where they belong; it is made where it is missing.
    """
    folder.mkdir(mode=0o711, exist_ok=True)
    owner, parts, bells, grafana = (secrets.token_hex(24) for _ in range(4))
    groups = (
        {
            "owner_password": (owner, POSTGRES),
            "migration_database_url": (
                f"postgresql://nightdraft_owner:{owner}@postgres/nightdraft", PARTS
            ),
            "database_url": (f"postgresql://nightdraft:{parts}@postgres/nightdraft", PARTS),
        },
        {
            "redis_users": (f"user default off\nuser nightdraft on >{bells} {acl_rules()}", REDIS),
            "redis_url": (f"redis://nightdraft:{bells}@redis:6379/0", PARTS),
        },
        {"grafana_password": (grafana, GRAFANA)},
    )  # fmt: skip
    made = []
    for group in groups:  # the files of a group hold the same passwords
        if any((folder / name).exists() for name in group):
            continue
        for name, (content, user) in group.items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(f"{content}\n")
            if os.geteuid() == 0:
                os.chown(path, user, -1)
            made.append(path)
    return made


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("run it as root: each file must belong to the user of the container that reads it")
    environment = FOLDER / ".env"
    environment.touch(mode=0o600)
    environment.chmod(0o600)
    for path in make(FOLDER / "secrets"):
        print(path)
