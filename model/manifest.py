"""The manifest of a bundle: what it declares, and whether its files are unchanged.

A bundle is a folder with a manifest.json and the files that it lists with their SHA-256. Its
digest, which every draft carries, names the exact weights and tokenizers that made the draft.
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
"""Names of the bundles that come with the software."""

FINDING_HEAD = "finding_head"
"""The name of the classifier that a bundle's own finding head is."""

PREPROCESSING = "nightdraft-film-3"
"""The version of what model.dicom.pixels does; it changes whenever a view would."""

CHOICE = "nightdraft-views-3"
"""The version of what decides whether and from which images a study is drafted (model.dicom). It
changes with the rules there."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    Attributes:
        size: Pixels a side.
        mean, std: By which values from 0 to 1 are normalised, for each channel.
        resize: The name of a rule in model.dicom.pixels.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str = "square"


@dataclass(frozen=True)
class IntendedUse:
    """The studies that the model may draft; others are skipped with the reason.

    Attributes:
        modalities, body_parts: DICOM values that are accepted.
        views: Positions that are accepted.
        needs: Positions of which a study needs at least one.
        least_age: Years.
        max_views: Most views of a study that are read.
    """

    modalities: tuple[str, ...] = ("CR", "DX", "RG")
    body_parts: tuple[str, ...] = ("CHEST",)
    views: tuple[str, ...] = ("frontal", "lateral")
    needs: tuple[str, ...] = ("frontal",)
    least_age: int = 18
    max_views: int = 3


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        name, version: Of the bundle.
        base_model, base_revision: The weights that it was made from.
        template: The prompt template that is served where no other is requested.
        preprocessing: How an image becomes the network's input.
        licence: Of the weights.
        demonstration: Whether the bundle must never be used on patients.
        notice: Why, in one sentence for every page and draft, where it is a demonstration.
        intended_use: The studies that it may draft.
        max_new_tokens: Most tokens of a draft.
        max_instruction_tokens: Most tokens of an instruction.
        libraries: Versions of the libraries that wrote it.
        training, scores: How it was made and how it scored, for people.
        files: Path inside the bundle -> SHA-256 in hex.
        classifier: Names what fills the template `predicted`.
        templates: Other templates that it was trained with.
        adapters: What was merged into the base, in order: name, SHA-256, rank, targets.
        finding_head: Of a bundle with a finding head: its observations, how it was fitted, its
            calibration and its scores (model.support).
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
    finding_head: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the whole manifest and so, by its hashes, over every file."""
        values = asdict(self)
        # A bundle with nothing in a later field keeps the digest that its drafts carry.
        return _sha256_of({k: v for k, v in values.items() if v or k not in _LATER_FIELDS})

    @property
    def preprocessing_digest(self) -> str:
        """SHA-256 over what a prepared input depends on; when it changes, it is prepared again."""
        return _sha256_of(
            {
                "pixels": PREPROCESSING,
                "preprocessing": asdict(self.preprocessing),
                "intended_use": asdict(self.intended_use),
                "template": self.template,
            }
        )

    @property
    def preparation_digest(self) -> str:
        """SHA-256 over what decides whether a prepared input still stands.

        Unlike `preprocessing_digest` it is no part of an input's own digest: where other rules
        choose the same views, the input and its draft are the same.
        """
        return _sha256_of({"choice": CHOICE, "preprocessing": self.preprocessing_digest})


_BLOCK = 4 * 2**20

_LATER_FIELDS = ("classifier", "templates", "adapters", "finding_head")
"""Fields that manifests of the first version do not have."""

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
"""The manifest of model.reporter.NullReporter."""


def resolve(name_or_path: str | Path) -> Path:
    """The folder of a bundle: a shipped name ("demo", "phantoms"), else a path as it stands."""
    shipped = SHIPPED.get(str(name_or_path))
    return shipped if shipped is not None else Path(name_or_path).expanduser()


def read_manifest(bundle: str | Path) -> Manifest:
    """The manifest of a bundle, by shipped name or folder; "null" has one without a folder.

    Raises:
        BundleError: There is no such folder, no manifest in it, or one that this software cannot
            read.
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
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} is not readable JSON: {error}") from error
    return parse_manifest(content, str(path))


def parse_manifest(content: bytes, where: str) -> Manifest:
    """The manifest that the bytes of a manifest.json hold.

    Args:
        content: The bytes.
        where: Where they are from, for an error's text.

    Raises:
        BundleError: They are no manifest that this software can read.
    """
    try:
        values = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise BundleError(f"{where} is not readable JSON: {error}") from error
    try:
        manifest: Manifest = _build(Manifest, values)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{where} is not a manifest for this software: {error}") from error
    return manifest


def verify(bundle: str | Path, progress: ProgressCallback = no_progress) -> Manifest:
    """Check that every file of a bundle is the one that its manifest lists.

    Args:
        bundle: A shipped bundle's name, or a folder.
        progress: Is called with "checking", in bytes.

    Returns:
        The manifest.

    Raises:
        BundleError: As `read_manifest`, or a file is missing, changed, or not listed.
    """
    folder = resolve(bundle)
    manifest = read_manifest(bundle)
    if manifest is NULL:
        return manifest
    for name in sorted(manifest.files):
        if not (folder / name).is_file():
            raise BundleError(f"{folder} lacks {name}, which its manifest lists")
    for name, digest in sha256_of_files(
        folder, sorted(manifest.files), progress, "checking"
    ).items():
        if digest != manifest.files[name]:
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
    """Write manifest.json with the hashes of all files now in `folder`, and return it as read."""
    content = asdict(manifest)
    content["files"] = sha256_of_files(folder, list_files(folder), progress, "hashing")
    path = folder / MANIFEST
    path.write_text(
        json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
    )
    return read_manifest(folder)


def list_files(folder: Path) -> list[str]:
    """Every file of a bundle except its manifest, as sorted paths with forward slashes."""
    names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in names if name != MANIFEST)


def sha256_of_files(
    folder: Path,
    names: Iterable[str],
    progress: ProgressCallback = no_progress,
    step: str = "",
) -> dict[str, str]:
    """SHA-256 of each file's bytes, in hex, by its name.

    Args:
        folder: Where the files lie.
        names: Paths inside the folder.
        progress: Is called with `step` and the bytes hashed so far.
        step: The name of the step for `progress`, as "checking".
    """
    sizes = {name: (folder / name).stat().st_size for name in names}
    total, done = sum(sizes.values()) or 1, 0
    digests: dict[str, str] = {}
    for name in sizes:
        digest = hashlib.sha256()
        with (folder / name).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                done += len(block)
                progress(step, done, total)
        digests[name] = digest.hexdigest()
    return digests


def _sha256_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


_NESTED = {"preprocessing": Preprocessing, "intended_use": IntendedUse}


def _build(kind: type[Any], content: Any) -> Any:
    """A dataclass from parsed JSON: lists become tuples, unknown and missing keys are errors."""
    if not isinstance(content, dict):
        raise TypeError(f"{kind.__name__} is not an object")
    known = {f.name: f for f in fields(kind)}
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}")
    values: dict[str, Any] = {}
    for key, value in content.items():
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
