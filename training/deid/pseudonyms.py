"""Makes pseudonyms for patients: always the same at one site, and meaningless elsewhere.

A pseudonym is a keyed hash. Without the site's key it can neither be reversed nor found by trial,
as a plain hash of a short number could. The key lies in the data folder, beside the patients'
images, and leaves it no more than they do.
"""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from records.errors import CorpusError

KEY_FILE = "pseudonyms.key"
"""In the data folder; mode 0600."""
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Makes pseudonyms with one site's key."""

    key: bytes = field(repr=False)

    def pseudonym(self, patient: str) -> str:
        """Return 32 hexadecimal digits for a patient's id; case and outer spaces do not matter."""
        normalised = patient.strip().casefold().encode()
        return hmac.digest(self.key, normalised, "sha256").hex()[:32]


def site_pseudonyms(data_dir: Path) -> Pseudonyms:
    """Return the pseudonyms of this site; its key is made if there is none.

    Raises:
        CorpusError: the key cannot be read or written, is truncated, or others can read it.
    """
    path = data_dir / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        key, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise CorpusError(
            f"the key of the patients' pseudonyms, {path}, cannot be used ({error.strerror}); let "
            "this user read and write the data folder"
        ) from None
    if len(key) != _KEY_BYTES:
        raise CorpusError(
            f"{path} is damaged; restore it from a backup, or remove it: then every patient gets "
            "another pseudonym, and may come into another split"
        )
    if mode & 0o077:
        raise CorpusError(f"others can read {path}, so pseudonyms hide nothing; chmod 600 it")
    return Pseudonyms(key)


def _make_key(path: Path) -> None:
    """Write the key whole or not at all; of two processes that make it at once, the first wins."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{KEY_FILE}-")  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
