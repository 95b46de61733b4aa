"""A corpus by its name, as on the command line: NAME or NAME:PATH. Knows all readers by name."""

from __future__ import annotations

from pathlib import Path

from records.errors import CorpusError
from training.corpus.example import Corpus, CorpusOptions
from training.corpus.splits import DEFAULT, resolve_split

CORPORA = {
    "iu_xray": "iu_xray:FOLDER, IU X-ray in any of its three forms",
    "mimic_cxr": "mimic_cxr:FOLDER, MIMIC-CXR-JPG as PhysioNet has it",
    "signed": "signed, the reports that readers of this system have signed",
    "phantoms": "phantoms or phantoms:SITE, drawn chests without end",
}
"""Name -> how it is asked for."""
ENDLESS_CORPORA = ("phantoms",)


def open_corpus(
    spec: str, reading: CorpusOptions = DEFAULT, *, needs_images: bool = True
) -> Corpus:
    """The corpus of a spec, "NAME" or "NAME:PATH".

    needs_films: leave out studies none of whose films are there (corpora in folders).

    Raises:
        CorpusError: there is no such corpus, its folder is missing or holds something else, or it
            cannot be read this way; the message lists what there is.
    """
    name, _, path = spec.partition(":")
    if name not in CORPORA:
        raise CorpusError(f"there is no corpus {name!r}; there are: {'; '.join(CORPORA.values())}")
    if name in ("iu_xray", "mimic_cxr"):
        if not path:
            raise CorpusError(f"{name} lies in a folder; name it: {name}:FOLDER")
        return _in_folder(name, Path(path).expanduser(), reading, needs_images)
    if name == "phantoms":
        return _drawn(path or "usual", reading)
    if path:
        raise CorpusError(f"{name} lies in no folder; ask for {name!r} without {path!r}")
    from training.corpus.signed import SignedReports

    return SignedReports(reading)


def _drawn(site: str, reading: CorpusOptions) -> Corpus:
    from training.corpus.phantom_corpus import PhantomCorpus
    from training.corpus.phantoms import SITES

    if site not in SITES:
        raise CorpusError(f"phantoms have no site {site!r}; there are: {', '.join(SITES)}")
    resolve_split("phantoms", reading, ())
    return PhantomCorpus(reading, SITES[site])


def _in_folder(name: str, folder: Path, reading: CorpusOptions, needs_images: bool) -> Corpus:
    if name == "iu_xray":
        from training.corpus.iu_xray import IuXray

        return IuXray(folder, reading, needs_images=needs_images)
    from training.corpus.mimic_cxr import MimicCxr

    return MimicCxr(folder, reading, needs_images=needs_images)
