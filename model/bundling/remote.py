"""Where a bundle can be pushed to and pulled from, by address: a folder, a hub, an object store.

    /mnt/bundles/ours                a folder, on this machine or mounted
    hf://owner/name[@revision]       a model repository of the Hugging Face hub
    s3://bucket/prefix               an object store that speaks S3; needs `nightdraft[s3]`

A `BundleStore` moves files; that they are whole and belong together is checked in
`model.bundling.transfer`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from model.bundling.store import fsync_tree, replace_folder
from model.errors import BundleError
from model.manifest import MANIFEST, list_files, resolve, verify
from model.progress import ByteCounter

OBJECT_STORES = {"s3": "s3fs"}
"""Protocol of fsspec -> the package that speaks it."""


class BundleStore(Protocol):
    """A place outside of this machine's bundles. Its methods raise BundleError alone."""

    address: str

    def list_files(self) -> dict[str, int]:
        """Every file that is there, with its bytes, by its path inside the bundle."""
        ...

    def read_manifest(self) -> bytes | None:
        """The bytes of manifest.json; None where there is none."""
        ...

    def fetch(self, name: str, folder: Path, count: ByteCounter) -> None:
        """Copy one file into a folder, under its path inside the bundle."""
        ...

    def publish(
        self, folder: Path, names: Sequence[str], removed: Sequence[str], count: ByteCounter
    ) -> None:
        """Copy a bundle there; manifest.json comes last.

        Whoever looks before that finds no manifest, or the old one with files that it does not
        list: never a mixture that passes the check of its digests.

        Args:
            folder: The bundle.
            names: Its files, without manifest.json.
            removed: Files of the old bundle that are not in the new one.
            count: Counts the bytes.
        """
        ...


def open_store(address: str, *, public: bool = False) -> BundleStore:
    """The store at an address; nothing is read or made yet.

    Args:
        address: As at the top of this module.
        public: Whether a repository of a hub may be one that everybody reads.

    Raises:
        BundleError: There are no such addresses, or a package for them is missing.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return FolderStore(address)
    if scheme == "hf":
        from model.bundling.hub_store import HubStore

        return HubStore(address, public=public)
    if scheme in OBJECT_STORES:
        return _open_object_store(address, scheme, rest)
    raise BundleError(
        f"{address}: there are no addresses of that kind; name a folder, hf://owner/name or "
        "s3://bucket/prefix"
    )


def _open_object_store(address: str, scheme: str, rest: str) -> BundleStore:
    if not re.fullmatch(r"[^/]+(/[^/]+)+/?", rest):
        raise BundleError(
            f"{address}: give a bucket and a prefix, as in {scheme}://bucket/bundles/ours"
        )
    package = OBJECT_STORES[scheme]
    if find_spec(package) is None:
        raise BundleError(
            f"{address} needs a package that is not installed ({package}): "
            f"pip install 'nightdraft[{scheme}]'"
        )
    import fsspec

    return ObjectStore(address, fsspec.filesystem(scheme), rest.strip("/"))


class FolderStore:
    """A bundle in a folder."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.folder = resolve(address)

    def list_files(self) -> dict[str, int]:
        """See `BundleStore.list_files`."""
        if self.folder.exists() and not self.folder.is_dir():
            raise BundleError(f"{self.folder} is a file: name a folder")
        names = [*list_files(self.folder), *([MANIFEST] if self.read_manifest() else [])]
        return {name: (self.folder / name).stat().st_size for name in names}

    def read_manifest(self) -> bytes | None:
        """See `BundleStore.read_manifest`."""
        path = self.folder / MANIFEST
        with _reporting(self.address):
            return path.read_bytes() if path.is_file() else None

    def fetch(self, name: str, folder: Path, count: ByteCounter) -> None:
        """See `BundleStore.fetch`."""
        with _reporting(self.address):
            copy_file(self.folder / name, folder / name, count)

    def publish(
        self,
        folder: Path,
        names: Sequence[str],
        removed: Sequence[str],  # noqa: ARG002
        count: ByteCounter,
    ) -> None:
        """See `BundleStore.publish`; the folder gets its name once all of it is there."""
        with _reporting(self.address), replace_folder(self.folder) as fresh:
            for name in (*names, MANIFEST):
                copy_file(folder / name, fresh / name, count)
            fsync_tree(fresh)
            verify(fresh)


class ObjectStore:
    """A bundle as objects under a prefix.

    Args:
        address: As a person names it.
        filesystem: Of fsspec.
        root: Bucket and prefix.
    """

    def __init__(self, address: str, filesystem: Any, root: str) -> None:
        self.address = address
        self._filesystem = filesystem
        self._root = root

    def list_files(self) -> dict[str, int]:
        """See `BundleStore.list_files`."""
        with _reporting(self.address):
            self._filesystem.invalidate_cache()
            found = self._filesystem.find(self._root, detail=True)
            start = len(self._filesystem._strip_protocol(self._root).rstrip("/")) + 1
            return {path[start:]: int(info["size"]) for path, info in found.items()}

    def read_manifest(self) -> bytes | None:
        """See `BundleStore.read_manifest`."""
        with _reporting(self.address):
            try:
                content: bytes = self._filesystem.cat_file(self._path(MANIFEST))
            except FileNotFoundError:
                return None
            return content

    def fetch(self, name: str, folder: Path, count: ByteCounter) -> None:
        """See `BundleStore.fetch`."""
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        with _reporting(self.address):
            self._filesystem.get_file(self._path(name), str(to), callback=_counting(count))

    def publish(
        self, folder: Path, names: Sequence[str], removed: Sequence[str], count: ByteCounter
    ) -> None:
        """See `BundleStore.publish`."""
        there = self.list_files()
        with _reporting(self.address):
            for name in removed:
                if name in there:
                    self._filesystem.rm_file(self._path(name))
            for name in (*names, MANIFEST):
                self._filesystem.put_file(
                    str(folder / name), self._path(name), callback=_counting(count)
                )

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def copy_file(source: Path, to: Path, count: ByteCounter) -> None:
    """Copy a file in blocks; its folder is made."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reader, to.open("wb") as writer:
        while block := reader.read(_BLOCK):
            writer.write(block)
            count(len(block))
    shutil.copymode(source, to)


_BLOCK = 4 * 2**20


def _counting(count: ByteCounter) -> Any:
    from fsspec.callbacks import Callback

    class Counting(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            count(inc)

    return Counting()


@contextmanager
def _reporting(address: str) -> Iterator[None]:
    """A block whose errors become one sentence."""
    try:
        yield
    except BundleError:
        raise
    except Exception as error:  # fsspec's file systems raise the errors of their own clients, too
        kind = type(error).__name__
        raise BundleError(
            f"{address} cannot be read or written ({kind}: {str(error) or 'no reason is given'}); "
            "check the address, the credentials and the room there, then give the same command "
            "again"
        ) from error
