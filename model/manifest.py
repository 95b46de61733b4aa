"""What a bundle says of itself, and whether its files are still those. Knows no torch.

A bundle is a folder with a manifest.json and the files that it lists with their SHA-256. Its
digest, on every draft, names the exact weights and words that made the draft.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from model.errors import BundleError
from model.progress import ProgressCallback, no_progress

MANIFEST = "manifest.json"
BUNDLES = Path(__file__).parent / "bundles"
SHIPPED = {"demo": BUNDLES / "phantoms", "phantoms": BUNDLES / "phantoms"}
"""Names of bundles that come with the software."""

PREPROCESSING = "nightdraft-film-2"
"""Names the way of model.dicom.pixels from file to view; it changes whenever a view would."""


@dataclass(frozen=True)
class Preprocessing:
    """How a film becomes pixels. size: a side in pixels. resize: rule's name in model.dicom.pixels."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str = "square"


@dataclass(frozen=True)
class IntendedUse:
    """The studies that the model may draft; others are skipped with the reason.

    views: acceptable positions; a study needs at least one of `needs`. least_age: years.
    """

    modalities: tuple[str, ...] = ("CR", "DX", "RG")
    body_parts: tuple[str, ...] = ("CHEST",)
    views: tuple[str, ...] = ("frontal", "lateral")
    needs: tuple[str, ...] = ("frontal",)
    least_age: int = 18
    max_views: int = 3


@dataclass(frozen=True)
class Manifest:
    """All that manifest.json says.

    files: path inside the bundle -> SHA-256 in hex. demonstration: never to be used on patients;
    `notice` then says why in one sentence, for every page and draft. training and scores: how it
    was made and how it did, for people. template: served where no other is asked for; templates:
    others that it was trained with. classifier: names what fills the template `predicted`.
    adapters: what was merged into the base, in order: name, SHA-256, rank, targets.
    """

    name: str
    version: str
    base_model: str
    base_revision: str
    template: str
    preprocessing: Preprocessing
    licence: str
    demonstration: bool
    notice: str = ""
    intended_use: IntendedUse = field(default_factory=IntendedUse)
    max_new_tokens: int = 100
    max_instruction_tokens: int = 128
    libraries: dict[str, str] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    classifier: str = ""
    templates: tuple[str, ...] = ()
    adapters: tuple[dict[str, Any], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the whole manifest and so, by its hashes, over every file."""
        said = asdict(self)
        # A bundle that says nothing in a later field keeps the digest that its drafts carry.
        return _sha256_of({k: v for k, v in said.items() if v or k not in _LATER})

    @property
    def preprocessing_digest(self) -> str:
        """SHA-256 over what a prepared input depends on; another digest, prepared again."""
        return _sha256_of(
            {
                "pixels": PREPROCESSING,
                "preprocessing": asdict(self.preprocessing),
                "intended_use": asdict(self.intended_use),
                "template": self.template,
            }
        )


_BLOCK = 4 * 2**20

_LATER = ("classifier", "templates", "adapters")
"""Fields that manifests of the first version lack."""

NULL = Manifest(
    name="null",
    version="1",
    base_model="none",
    base_revision="",
    template="none",
    preprocessing=Preprocessing(size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    licence="none",
    demonstration=True,
    notice="No model: every draft is one fixed sentence, for measuring the way to it.",
)
"""The manifest of the reporter that looks at nothing (model.reporter.NullReporter)."""


def resolve(name_or_path: str | Path) -> Path:
    """The folder of a bundle: a shipped name ("demo", "phantoms"), else a path as it stands."""
    shipped = SHIPPED.get(str(name_or_path))
    return shipped if shipped is not None else Path(name_or_path).expanduser()


def read_manifest(bundle: str | Path) -> Manifest:
    """The manifest of a bundle, by shipped name or folder; "null" has one without a folder.

    Raises:
        BundleError: no such folder, no manifest in it, or one that this software does not know.
    """
    if str(bundle) == NULL.name:
        return NULL
    folder = resolve(bundle)
    if not folder.is_dir():
        raise BundleError(f"there is no bundle at {folder}")
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} has no {MANIFEST}, so it is not a bundle")
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is not readable JSON: {error}") from error
    try:
        manifest: Manifest = _build(Manifest, said)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path} is not a manifest for this software: {error}") from error
    return manifest


def verify(bundle: str | Path, progress: ProgressCallback = no_progress) -> Manifest:
    """The manifest, once every file that it lists has been found unchanged.

    progress: is called with "checking", in bytes.

    Raises:
        BundleError: as `read_manifest`, or a file is missing, changed, or not listed at all.
    """
    folder = resolve(bundle)
    manifest = read_manifest(bundle)
    if manifest is NULL:
        return manifest
    for name in sorted(manifest.files):
        if not (folder / name).is_file():
            raise BundleError(f"{folder} lacks {name}, which its manifest lists")
    for name, found in sha256_of_files(
        folder, sorted(manifest.files), progress, "checking"
    ).items():
        if found != manifest.files[name]:
            raise BundleError(
                f"{folder / name} is not the file that the manifest lists (SHA-256 differs): "
                "copy the bundle again"
            )
    unlisted = sorted(set(list_files(folder)) - set(manifest.files))
    if unlisted:
        raise BundleError(f"{folder} holds {unlisted[0]}, which its manifest does not list")
    return manifest


def write_manifest(
    folder: Path, manifest: Manifest, progress: ProgressCallback = no_progress
) -> Manifest:
    """Write manifest.json with the hashes of all files now in `folder`; what was written."""
    said = asdict(manifest)
    said["files"] = sha256_of_files(folder, list_files(folder), progress, "hashing")
    path = folder / MANIFEST
    path.write_text(
        json.dumps(said, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
    )
    return read_manifest(folder)


def list_files(folder: Path) -> list[str]:
    """Every file of a bundle but its manifest, as sorted paths with forward slashes."""
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in found if name != MANIFEST)


def sha256_of_files(
    folder: Path,
    names: Iterable[str],
    progress: ProgressCallback = no_progress,
    what: str = "",
) -> dict[str, str]:
    """SHA-256 of each file's bytes, in hex, by its name. progress: is called with `what`, in bytes."""
    sizes = {name: (folder / name).stat().st_size for name in names}
    total, done = sum(sizes.values()) or 1, 0
    found: dict[str, str] = {}
    for name in sizes:
        digest = hashlib.sha256()
        with (folder / name).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                done += len(block)
                progress(what, done, total)
        found[name] = digest.hexdigest()
    return found


def _sha256_of(said: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


_NESTED = {"preprocessing": Preprocessing, "intended_use": IntendedUse}


def _build(kind: type[Any], said: Any) -> Any:
    """A dataclass out of parsed JSON: lists become tuples, unknown and missing keys are errors."""
    if not isinstance(said, dict):
        raise TypeError(f"{kind.__name__} is not an object")
    known = {f.name: f for f in fields(kind)}
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}")
    values: dict[str, Any] = {}
    for key, value in said.items():
        if key in _NESTED:
            values[key] = _build(_NESTED[key], value)
            continue
        values[key] = tuple(value) if isinstance(value, list) else value
        _check(key, values[key], str(known[key].type))
    return kind(**values)


_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "dict": dict,
    "tuple": tuple,
}


def _check(key: str, value: Any, annotation: str) -> None:
    wanted = _KINDS[annotation.split("[")[0]]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise TypeError(f"{key!r} should be {annotation}")
