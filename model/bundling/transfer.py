"""Pushes a bundle to a store and pulls one from there; its digests are checked on both ways.

A pull is whole or not at all: files come into <folder>.partial, which gets the bundle's name once
each is the file that the manifest lists. What an interrupted pull left there is not copied again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from model.bundling.build import check_target
from model.bundling.remote import BundleStore, open_store
from model.bundling.store import check_bundle, fsync_tree, replace_folder
from model.errors import BundleError
from model.manifest import (
    MANIFEST,
    NULL,
    Manifest,
    parse_manifest,
    read_manifest,
    resolve,
    sha256_of_files,
    verify,
)
from model.progress import ByteCounter, ProgressCallback, no_progress


@dataclass(frozen=True)
class Transfer:
    """A bundle that was pushed or pulled.

    Args:
        manifest: The bundle's.
        copied: Bytes that were copied; 0 where the bundle was there already.
    """

    manifest: Manifest
    copied: int


def push(
    bundle: str | Path,
    address: str,
    *,
    replace: bool = False,
    public: bool = False,
    progress: ProgressCallback = no_progress,
) -> Transfer:
    """Copy a bundle to an address.

    Args:
        bundle: A shipped bundle's name, or a folder.
        address: As `open_store` takes it.
        replace: Whether another bundle there may be replaced; the same one is copied again.
        public: Whether a hub's repository may be one that everybody reads.
        progress: Is called with "checking" and "copying", in bytes.

    Raises:
        BundleError: The bundle is missing or changed, the address cannot be written, or something
            else is there.
    """
    folder = resolve(bundle)
    manifest = verify(bundle, progress)
    if manifest is NULL:
        raise BundleError("the bundle null has no files: name another one")
    names = sorted(manifest.files)
    sizes = {name: (folder / name).stat().st_size for name in (*names, MANIFEST)}
    store = open_store(address, public=public)
    there, content = store.list_files(), store.read_manifest()
    # Sizes and manifest say that it is there; whether its files are right, a pull finds out.
    if not replace and there == sizes and content == (folder / MANIFEST).read_bytes():
        return Transfer(manifest, 0)
    old = _replaceable_files(store, manifest, there, content, replace=replace)
    store.publish(folder, names, sorted(old - set(names)), _counter(progress, sum(sizes.values())))
    return Transfer(manifest, sum(sizes.values()))


def pull(
    address: str,
    out: Path,
    *,
    replace: bool = False,
    digest: str = "",
    progress: ProgressCallback = no_progress,
) -> Transfer:
    """Copy the bundle at an address into a folder, whole or not at all.

    Args:
        address: As `open_store` takes it.
        out: The bundle's folder on this machine.
        replace: Whether another bundle in its place may be replaced.
        digest: What the bundle's digest has to begin with; "" takes any.
        progress: Is called with "copying" and "checking", in bytes.

    Raises:
        BundleError: There is no bundle, its files are not those that its manifest lists, it does
            not have the digest, or there is something at `out`.
    """
    store = open_store(address)
    content = store.read_manifest()
    if content is None:
        raise BundleError(f"there is no bundle at {address}: no {MANIFEST}, or no right to read it")
    manifest = parse_manifest(content, f"{address}/{MANIFEST}")
    _require_plain_names(address, manifest)
    if not manifest.digest.startswith(digest):
        raise BundleError(
            f"the bundle at {address} has the digest {manifest.digest}, which does not begin with "
            f"{digest}: nothing was copied"
        )
    if _is_there(out, manifest):
        return Transfer(verify(out, progress), 0)
    check_target(out, replace)
    partial = out.with_name(out.name + ".partial")
    copied = _fetch(store, manifest, partial, progress)
    (partial / MANIFEST).write_bytes(content)
    for path in partial.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    check_bundle(partial, progress)
    fsync_tree(partial)
    with replace_folder(out) as fresh:
        fresh.rmdir()
        partial.rename(fresh)
    return Transfer(manifest, copied + len(content))


def _fetch(
    store: BundleStore, manifest: Manifest, partial: Path, progress: ProgressCallback
) -> int:
    """Copy what is not in the partial folder yet; returns the bytes."""
    sizes = store.list_files()
    if missing := sorted(set(manifest.files) - set(sizes)):
        raise BundleError(f"{store.address} lacks {missing[0]}, which its manifest lists")
    kept = _whole_files(partial, manifest, progress)
    _remove_others(partial, kept)
    wanted = [name for name in sorted(manifest.files) if name not in kept]
    total = sum(sizes[name] for name in wanted)
    partial.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(partial).free
    if total > free:
        raise BundleError(
            f"{partial.parent} has {free / 1e9:.1f} GB free, and {total / 1e9:.1f} GB are to be "
            "copied: make room there"
        )
    count = _counter(progress, total)
    for name in wanted:
        store.fetch(name, partial, count)
        if sha256_of_files(partial, [name])[name] != manifest.files[name]:
            raise BundleError(
                f"{store.address}: {name} is not the file that the manifest lists (SHA-256 "
                "differs): pull again; if that does not help, push the bundle with --replace"
            )
    return total


def _remove_others(partial: Path, kept: set[str]) -> None:
    """Remove all but these files, and the folders that are empty then."""
    for path in sorted(partial.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(partial).as_posix() not in kept:
            path.unlink()


def _whole_files(partial: Path, manifest: Manifest, progress: ProgressCallback) -> set[str]:
    """The files that an earlier pull left whole."""
    names = [name for name in sorted(manifest.files) if (partial / name).is_file()]
    digests = sha256_of_files(partial, names, progress, "checking")
    return {name for name, digest in digests.items() if digest == manifest.files[name]}


def _is_there(out: Path, manifest: Manifest) -> bool:
    return (out / MANIFEST).is_file() and read_manifest(out).digest == manifest.digest


def _replaceable_files(
    store: BundleStore,
    manifest: Manifest,
    there: dict[str, int],
    content: bytes | None,
    *,
    replace: bool,
) -> set[str]:
    """The files of the bundle that is there, if this one may replace it.

    Raises:
        BundleError: It is another bundle and may not be replaced; or something is there that is
            of no bundle, which is never removed.
    """
    old: set[str] = set()
    if content is not None:
        other = parse_manifest(content, f"{store.address}/{MANIFEST}")
        old = set(other.files)
        if other.digest != manifest.digest and not replace:
            raise BundleError(
                f"{store.address} has another bundle ({other.name} {other.version}, digest "
                f"{other.digest[:12]}): name another place, or give --replace"
            )
    if foreign := sorted(set(there) - {*manifest.files, *old, MANIFEST}):
        raise BundleError(
            f"{store.address} holds {foreign[0]}, which is no part of a bundle: name another place"
        )
    return old


def _require_plain_names(address: str, manifest: Manifest) -> None:
    """Refuse names that would lead out of the bundle's folder."""
    for name in manifest.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            raise BundleError(f"{address} lists the file {name!r}, which is no path in a bundle")


def _counter(progress: ProgressCallback, total: int) -> ByteCounter:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress("copying", min(done, total), total or 1)

    return count
