"""Opens a corpus by the name that the command line gives: NAME or NAME:PATH."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model.prompting.prompt import Symptoms
from records.errors import CorpusError
from training.corpus.example import Corpus, CorpusOptions
from training.corpus.splits import DEFAULT_OPTIONS, resolve_split

CORPORA = {
    "iu_xray": "iu_xray:FOLDER, IU X-ray in any of its three forms",
    "mimic_cxr": "mimic_cxr:FOLDER, MIMIC-CXR-JPG as PhysioNet has it",
    "folder": "folder:FOLDER, reports and images of your own, in a table and files",
    "signed": "signed, the reports that readers of this system have signed",
    "phantoms": "phantoms or phantoms:SITE, drawn chests without end",
}
"""Name -> how a user writes it, and what it is."""
ENDLESS_CORPORA = ("phantoms",)
ORACLE_TEMPLATES = {"iu_xray": "oracle_iu", "mimic_cxr": "oracle_mimic"}
"""The paper's template of each of its corpora."""


def open_corpus(
    spec: str,
    options: CorpusOptions = DEFAULT_OPTIONS,
    *,
    needs_images: bool = True,
    label: Callable[[str], Symptoms] | None = None,
) -> Corpus:
    """Open the corpus of a spec.

    Args:
        spec: "NAME" or "NAME:PATH".
        options: How to read it.
        needs_images: Exclude studies none of whose images are present (corpora in folders).
        label: Labels reports for the paper's template of MIMIC-CXR, as `MimicCxr` takes it.

    Raises:
        CorpusError: there is no such corpus, its folder is missing or holds something else, or it
            cannot be read with these options. The message lists what there is.
    """
    name, _, path = spec.partition(":")
    if name not in CORPORA:
        raise CorpusError(f"there is no corpus {name!r}; there are: {'; '.join(CORPORA.values())}")
    if name in ("iu_xray", "mimic_cxr", "folder"):
        if not path:
            raise CorpusError(f"{name} lies in a folder; name it: {name}:FOLDER")
        return _open_in_folder(name, Path(path).expanduser(), options, needs_images, label)
    if name == "phantoms":
        return _open_phantoms(path or "usual", options)
    if path:
        raise CorpusError(f"{name} lies in no folder; ask for {name!r} without {path!r}")
    from training.corpus.signed import SignedReports

    return SignedReports(options)


def _open_phantoms(site: str, options: CorpusOptions) -> Corpus:
    from training.corpus.phantom_corpus import PhantomCorpus
    from training.corpus.phantoms import SITES

    if site not in SITES:
        raise CorpusError(f"phantoms have no site {site!r}; there are: {', '.join(SITES)}")
    resolve_split("phantoms", options, ())
    return PhantomCorpus(options, SITES[site])


def _open_in_folder(
    name: str,
    folder: Path,
    options: CorpusOptions,
    needs_images: bool,
    label: Callable[[str], Symptoms] | None,
) -> Corpus:
    if name == "iu_xray":
        from training.corpus.iu_xray import IuXray

        return IuXray(folder, options, needs_images=needs_images)
    if name == "folder":
        from training.corpus.folder import FolderCorpus

        return FolderCorpus(folder, options, needs_images=needs_images)
    from training.corpus.mimic_cxr import MimicCxr

    return MimicCxr(folder, options, needs_images=needs_images, label=label)
