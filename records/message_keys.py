"""The keys that messages of other systems are encrypted with where their content is kept.

The first key encrypts, all of them decrypt. They are those of NIGHTDRAFT_MESSAGE_KEY or, where that
is empty, the one of a file that is made once in the data folder:

    <data_dir>/keys/messages.key   mode 0600; part of a backup, or the kept messages stay closed
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from records.errors import PartError, SettingsError
from records.settings import settings

KEY_FILE = "keys/messages.key"
"""Under the data folder."""


def encrypt(content: bytes) -> bytes:
    """Encrypt with the first key; the file of the key is made where it is missing.

    Raises:
        SettingsError: NIGHTDRAFT_MESSAGE_KEY is no key.
        PartError: The file of the key cannot be made or read.
    """
    return _keys().encrypt(content)


def decrypt(content: bytes) -> bytes:
    """Decrypt what `encrypt` made.

    Raises:
        SettingsError: It was encrypted with a key that is not here, or NIGHTDRAFT_MESSAGE_KEY is
            no key.
        PartError: The file of the key cannot be read.
    """
    try:
        return _keys().decrypt(content)
    except InvalidToken:
        raise SettingsError(
            "the message was encrypted with another key: add that one to NIGHTDRAFT_MESSAGE_KEY, "
            f"or restore {KEY_FILE} of the data folder of the machine that received it"
        ) from None


def _keys() -> MultiFernet:
    given = [key for key in settings().message_key.get_secret_value().split(",") if key.strip()]
    try:
        if given:
            return MultiFernet([Fernet(key.strip()) for key in given])
        return MultiFernet([Fernet(_read_or_make(settings().data_dir / KEY_FILE))])
    except ValueError:  # the library quotes no key
        place = "NIGHTDRAFT_MESSAGE_KEY" if given else str(settings().data_dir / KEY_FILE)
        raise SettingsError(
            f"{place} is no key: it must be 32 random bytes in base64, as "
            "`openssl rand -base64 32` makes them"
        ) from None
    except OSError as error:
        raise PartError(
            f"the key of kept messages, {settings().data_dir / KEY_FILE}, cannot be read or made "
            f"({error.strerror})"
        ) from None


def _read_or_make(file: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return file.read_bytes().strip()
    file.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = file.with_name(f"{uuid.uuid4().hex}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as output:
            output.write(Fernet.generate_key() + b"\n")
            output.flush()
            os.fsync(output.fileno())
            _give_to_user(file, output.fileno())
        # Of several processes that make a key at the same time, the first one's is everybody's.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)
        for folder in (file.parent, file.parent.parent):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if folder == file.parent:
                    _give_to_user(file, descriptor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    finally:
        temporary.unlink(missing_ok=True)
    return file.read_bytes().strip()


def _give_to_user(file: Path, descriptor: int) -> None:
    """Give what root makes to the user of the parts, who has the folder of the films."""
    blobs = file.parent.parent / "blobs"
    if os.geteuid() == 0 and blobs.exists():
        user = blobs.stat()
        os.fchown(descriptor, user.st_uid, user.st_gid)
