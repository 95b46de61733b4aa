"""Which settings are others than when a part last started: the names, and no values."""

from __future__ import annotations

import hmac
import json
import socket

from pydantic import SecretStr
from pydantic_core import to_jsonable_python
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.actors import Actor, acting_as
from records.audit.keys import TrailKey, load_key
from records.audit.trail import record
from records.database.audit_tables import AuditSettings
from records.settings import Settings
from records.states import ActorKind, AuditAction


def note_settings(session: Session, part: str, config: Settings) -> list[str]:
    """Record that a part started with other settings than before on this machine.

    Its first start there is no change.

    Args:
        session: the caller's transaction.
        part: the part, as its heartbeat names it.
        config: its settings.

    Returns:
        The names of the settings that differ.

    Raises:
        SettingsError: the key of the trail is not there.
    """
    name = f"{part}@{socket.gethostname()}"
    now = _digests(load_key(), config)
    before = session.scalar(select(AuditSettings.digests).where(AuditSettings.part == name))
    if before == now:
        return []
    values = {"part": name, "digests": now}
    session.execute(
        insert(AuditSettings)
        .values(**values)
        .on_conflict_do_update(
            index_elements=["part"], set_={"digests": now, "noted_at": func.clock_timestamp()}
        )
    )
    if before is None:
        return []
    changed = sorted(one for one in now.keys() | before.keys() if now.get(one) != before.get(one))
    with acting_as(Actor(ActorKind.PART, part)):
        record(
            session,
            AuditAction.SETTING,
            detail=f"{name} started with other settings: "
            + ", ".join(f"NIGHTDRAFT_{one.upper()}" for one in changed),
        )
    return changed


def _digests(key: TrailKey, config: Settings) -> dict[str, str]:
    """A keyed digest of each value, so that a short secret cannot be guessed from it."""
    secret = key.derive("settings")
    digests = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        written = json.dumps([name, to_jsonable_python(plain)], sort_keys=True).encode("ascii")
        digests[name] = hmac.digest(secret, written, "sha256").hex()[:32]
    return digests
