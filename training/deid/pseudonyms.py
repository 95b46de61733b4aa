"""Names for patients that tell nothing of them: the same every time, at one site alone.

A pseudonym is a keyed hash. Without the site's key it can be neither undone nor tried out, as a
plain hash of a short number could; the key lies in the data folder, beside the patients' films, and
leaves it no more than they do. Knows no rows and no corpus.
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
_BYTES = 32


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Makes pseudonyms with one site's key."""

    key: bytes = field(repr=False)

    def of(self, patient: str) -> str:
        """32 hexadecimal digits for a patient's id, without regard to case and outer spaces."""
        plain = patient.strip().casefold().encode()
        return hmac.digest(self.key, plain, "sha256").hex()[:32]


def site_pseudonyms(data_dir: Path) -> Pseudonyms:
    """Those of this site; its key is made where there is none.

    Raises:
        CorpusError: the key cannot be read or written, is cut off, or others can read it.
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
    if len(key) != _BYTES:
        raise CorpusError(
            f"{path} is damaged; restore it from a backup, or remove it: then every patient gets "
            "another pseudonym, and may come into another split"
        )
    if mode & 0o077:
        raise CorpusError(f"others can read {path}, so pseudonyms hide nothing; chmod 600 it")
    return Pseudonyms(key)


def _make_key(path: Path) -> None:
    """Whole or not at all; of two that make it at once the first one's stands."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{KEY_FILE}-")  # mode 0600
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(made)
    except FileExistsError:
        pass
    finally:
        made.unlink()
