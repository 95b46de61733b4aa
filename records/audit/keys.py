"""The key of the trail: a file outside the database, from which two keys are derived.

One names patients by pseudonyms, the other seals. Who has the database alone can compute neither.
"""

from __future__ import annotations

import hmac
import os
import secrets
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from records.errors import SettingsError
from records.settings import settings

_BYTES = 32


@dataclass(frozen=True, slots=True)
class TrailKey:
    """The key, as `load_key` reads it.

    Attributes:
        secret: 32 bytes.
    """

    secret: bytes

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose (HMAC-SHA-256, as in RFC 5869, 2.3)."""
        return hmac.digest(self.secret, f"nightdraft trail {purpose}\x01".encode(), "sha256")

    @property
    def key_id(self) -> str:
        """16 hexadecimal digits that tell this key from another one, and give nothing away."""
        return self.derive("id").hex()[:16]

    def pseudonym(self, patient_id: str, issuer: str) -> uuid.UUID:
        """What the trail calls a patient: equal for equal ids and issuers, without spaces around.

        Args:
            patient_id: (0010,0020), as sent.
            issuer: (0010,0021), as sent.
        """
        named = f"{patient_id.strip()}\0{issuer.strip()}".encode()
        return uuid.UUID(bytes=hmac.digest(self.derive("pseudonym"), named, "sha256")[:16])

    def __repr__(self) -> str:
        return f"TrailKey({self.key_id})"


def key_file() -> Path:
    """Where the key is: the setting, or `keys/trail.key` under the data folder."""
    named = settings().trail_key_file
    return Path(named).expanduser() if named else settings().data_dir / "keys" / "trail.key"


def load_key(*, make: bool = True) -> TrailKey:
    """The key of the trail.

    Args:
        make: whether it is made where there is none.

    Raises:
        SettingsError: the file cannot be read or made, or it holds no key.
    """
    path = key_file()
    if not make and not path.exists():
        raise SettingsError(
            f"the key of the trail is not at {path}: let NIGHTDRAFT_TRAIL_KEY_FILE name the file"
        )
    return _load(path)


@lru_cache(maxsize=1)
def _load(path: Path) -> TrailKey:
    try:
        if not path.exists():
            _make(path)
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SettingsError(
            f"the key of the trail cannot be read or made at {path} ({reason}): let this user read "
            "the file, or set NIGHTDRAFT_TRAIL_KEY_FILE"
        ) from None
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise SettingsError(
            f"{path} holds no key of the trail ({2 * _BYTES} hexadecimal digits): bring the file "
            "back from where it was kept"
        )
    return TrailKey(secret)


def _make(path: Path) -> None:
    """Make a key; of two processes that make one at a time, the first one's stays."""
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _give_to_user(path.parent)
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(f"{secrets.token_hex(_BYTES)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        _give_to_user(draft)
        with suppress(FileExistsError):
            os.link(draft, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        draft.unlink(missing_ok=True)


def _give_to_user(path: Path) -> None:
    """Give what root makes to the user of the parts, who has the folder of the films."""
    blobs = settings().data_dir / "blobs"
    if os.geteuid() == 0 and blobs.exists():
        owner = blobs.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
