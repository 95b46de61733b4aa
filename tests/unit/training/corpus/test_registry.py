"""A corpus by its name."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from records.errors import CorpusError
from training.corpus.example import CorpusOptions, Example
from training.corpus.registry import CORPORA, open_corpus


def test_phantoms_need_no_folder() -> None:
    corpus = open_corpus("phantoms", CorpusOptions(target="findings"))
    first, second = islice(corpus.read("test"), 2)
    assert corpus.name == "phantoms"
    assert isinstance(first, Example)
    assert isinstance(second, Example)
    assert first.target != second.target
    with pytest.raises(CorpusError, match="phantoms has no split 'paper'; leave it out"):
        open_corpus("phantoms", CorpusOptions(split="paper"))


def test_an_unknown_name_is_answered_with_all_there_are() -> None:
    with pytest.raises(CorpusError, match="no corpus 'chexpert'") as refused:
        open_corpus("chexpert:/x")
    assert all(name in str(refused.value) for name in CORPORA)


@pytest.mark.parametrize("name", ["iu_xray", "mimic_cxr"])
def test_a_corpus_in_a_folder_needs_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=f"name it: {name}:FOLDER"):
        open_corpus(name)
    with pytest.raises(CorpusError, match="there is no folder"):
        open_corpus(f"{name}:{tmp_path}/none")


def test_the_signed_reports_lie_in_no_folder() -> None:
    with pytest.raises(CorpusError, match="lies in no folder"):
        open_corpus("signed:/x")


def test_phantoms_are_of_a_site() -> None:
    with pytest.raises(CorpusError, match="no site '/x'; there are"):
        open_corpus("phantoms:/x")
    usual, other = (
        next(open_corpus(spec).read("test")) for spec in ("phantoms", "phantoms:elsewhere")
    )
    assert isinstance(usual, Example)
    assert isinstance(other, Example)
    assert usual.target != other.target


def test_signed_reports_are_opened_by_their_reader() -> None:
    """Nothing is read, so no database is queried."""
    corpus = open_corpus("signed", CorpusOptions(seed=3))
    assert corpus.name == "signed"
    assert corpus.identity == {"name": "signed"}


def test_the_identity_of_phantoms_is_their_site() -> None:
    assert open_corpus("phantoms").identity == {"name": "phantoms", "site": "usual"}
    assert open_corpus("phantoms:ward").identity == {"name": "phantoms", "site": "ward"}
