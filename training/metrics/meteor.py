"""Computes the two scores that are called METEOR: version 1.5 (Java) and nltk's.

They have little in common but the name: on reports nltk's is nearly twice as high
(docs/train/metrics.md).
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import nltk.data
import numpy as np
import pycocoevalcap.meteor.meteor as coco_meteor
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.data import FileSystemPathPointer, PathPointer, SeekableUnicodeStreamReader
from nltk.stem.porter import PorterStemmer
from nltk.tokenize import NLTKWordTokenizer
from nltk.translate.meteor_score import meteor_score
from numpy.typing import NDArray

_JAR = Path(coco_meteor.__file__).parent / coco_meteor.METEOR_JAR
# In other locales Java writes a decimal comma, which would not be read as a number.
_LOCALE = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")
_JAR_ARGUMENTS = ("-", "-", "-stdio", "-l", "en", "-norm")
_STOPPED = "METEOR 1.5 stopped; look at the Java runtime and its memory"
STATISTICS = 23
"""Numbers that the jar counts for a case; they add up over cases (`meteor_from_statistics`)."""


class MeteorUnavailable(Exception):
    """METEOR 1.5 cannot be computed here; the message says why."""


class Meteor15:
    """A running METEOR 1.5; `start_meteor_15` starts one.

    Raises:
        MeteorUnavailable: both methods raise it once the process has stopped.
    """

    name = f"METEOR 1.5, jar of pycocoevalcap {version('pycocoevalcap')}"

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin = stdin
        self._stdout = stdout

    def statistics(self, hypothesis: str, references: Sequence[str]) -> NDArray[np.float64]:
        """Return what the jar counts for one case: shape (STATISTICS,)."""
        fields = ["SCORE", *map(_one_field, references), _one_field(hypothesis)]
        numbers = self._query(" ||| ".join(fields)).split()
        if len(numbers) != STATISTICS:
            raise MeteorUnavailable(
                "METEOR 1.5 gave an answer that is not valid; look at the Java runtime"
            )
        return np.array([float(number) for number in numbers])

    def score(self, statistics: NDArray[np.float64]) -> float:
        """Return the jar's own score of all cases together, from (cases, STATISTICS)."""
        summed = " ".join(str(float(number)) for number in statistics.sum(axis=0))
        self._query(f"EVAL ||| {summed}")  # answers with the score of each case, here one,
        return float(self._read_line())  # and then with that of all

    def _query(self, line: str) -> str:
        try:
            self._stdin.write(line + "\n")
            self._stdin.flush()
        except OSError as error:
            raise MeteorUnavailable(_STOPPED) from error
        return self._read_line()

    def _read_line(self) -> str:
        answer = self._stdout.readline()
        if not answer:
            raise MeteorUnavailable(_STOPPED)
        return answer.strip()


@contextmanager
def start_meteor_15() -> Iterator[Meteor15]:
    """Start METEOR 1.5 as pycocoevalcap calls it: English, its own normaliser, all stages.

    Its Java process ends with the context, whatever happens inside. (The library's own wrapper
    leaves the process and its pipes to the garbage collector, and cannot take line breaks.)

    Raises:
        MeteorUnavailable: there is no Java, or it does not start.
    """
    java = shutil.which("java")
    if java is None:
        raise MeteorUnavailable("METEOR 1.5 needs Java, which is not here; install a Java runtime")
    try:
        process = subprocess.Popen(
            [java, *_LOCALE, "-Xmx2G", "-jar", _JAR.name, *_JAR_ARGUMENTS],
            cwd=_JAR.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise MeteorUnavailable(
            f"METEOR 1.5 needs Java, and {java} does not start; mend it"
        ) from error
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Meteor15(process.stdin, process.stdout)
    finally:
        process.kill()
        process.communicate()


def _one_field(text: str) -> str:
    """Return a text as one field of the jar's line: no line break and no field separator."""
    return " ".join(text.replace("|||", " ").split())


# Denkowski and Lavie 2014, METEOR 1.5, English ("rank"): alpha, beta, gamma, delta, and the
# weights of its stages: exact, stem, synonym, paraphrase.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])


def meteor_from_statistics(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return METEOR 1.5 from what the jar counted: (..., STATISTICS) -> (...).

    This is the jar's own arithmetic, so a resample of cases needs no Java: its counts are the sum
    of its cases' counts. It agrees with the jar's score to the last digits of a float.
    """
    lengths, stages, (chunks, *matched) = (
        statistics[..., :4],
        statistics[..., 4:20].reshape(*statistics.shape[:-1], 4, 4),
        np.moveaxis(statistics[..., 20:], -1, 0),
    )
    # Each pair is hypothesis, then reference; content words come first, then function words.
    weighted = (_WEIGHTS[:, None] * stages).sum(axis=-2)
    all_matched = (lengths[..., 0] == matched[0]) & (lengths[..., 1] == matched[1])

    def share(side: int) -> NDArray[np.float64]:
        functional = lengths[..., 2 + side]
        total_weight = _DELTA * (lengths[..., side] - functional) + (1 - _DELTA) * functional
        matched_weight = _DELTA * weighted[..., side] + (1 - _DELTA) * weighted[..., 2 + side]
        return _ratio(matched_weight, total_weight)

    precision, recall = share(0), share(1)
    mean = _ratio(precision * recall, _ALPHA * precision + (1 - _ALPHA) * recall)
    fragmentation = _ratio(chunks, (matched[0] + matched[1]) / 2)
    fragmentation = np.where(all_matched & (chunks == 1), 0.0, fragmentation)
    return np.asarray(mean * (1 - _GAMMA * fragmentation**_BETA))


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(
        numerator,
        denominator,
        out=np.zeros_like(numerator, dtype=np.float64),
        where=denominator > 0,
    )


DEBIAN_WORDNET = Path("/usr/share/wordnet")


class _WordNet(WordNetCorpusReader):  # type: ignore[misc]  # nltk has no types
    """WordNet from nltk's folder or Debian's, read into memory so that no file stays open.

    Debian's lacks the list of the lexicographers' files. METEOR needs only the words of a synset,
    so invented names of those files are enough.
    """

    def open(self, file: str) -> Any:
        if file == "lexnames":
            content = b"".join(b"%02d file%d 0\n" % (n, n) for n in range(45))
        else:
            with self._root.join(file).open() as stream:
                content = stream.read()
        return SeekableUnicodeStreamReader(io.BytesIO(content), "utf-8")

    def map_wn(self, version: str = "wordnet") -> None:
        """Map nothing: nltk would look for the files of other versions and languages."""


class Synonyms:
    """The part of WordNet that nltk's METEOR uses; each word is looked up once."""

    def __init__(self, wordnet: _WordNet | None) -> None:
        self.synsets = cache(wordnet.synsets) if wordnet else lambda _: ()
        self.version = wordnet.get_version() if wordnet else ""


class _Stems:
    """nltk's stemmer; each word is stemmed once."""

    def __init__(self) -> None:
        self.stem = cache(PorterStemmer().stem)


class MeteorNltk:
    """nltk's METEOR (Lavie and Agarwal 2007), as HF's `evaluate` calls it.

    Words are nltk's word tokens, lower case. A sentence ends at . ? ! before a space, where HF's
    uses punkt. With several references the best one counts. `name` says whether synonyms are used.
    """

    def __init__(self) -> None:
        self._synonyms = load_synonyms()
        self._stems = _Stems()
        self._word_tokenizer = NLTKWordTokenizer()
        wordnet = self._synonyms.version
        synonyms = f"with WordNet {wordnet}" if wordnet else "without synonyms (no WordNet here)"
        self.name = f"METEOR, nltk {version('nltk')} {synonyms}"

    @property
    def note(self) -> str:
        """What a reader of the score must know; "" where it uses synonyms."""
        if self._synonyms.version:
            return ""
        return (
            "without synonyms, since WordNet is not here, so it is not the published score; "
            "install Debian's wordnet-base or nltk's corpus wordnet"
        )

    def score(self, hypothesis: str, references: Sequence[str]) -> float:
        """Return the score of one case, 0 to 1."""
        return float(
            meteor_score(
                [self._split(reference) for reference in references],
                self._split(hypothesis),
                stemmer=self._stems,
                wordnet=self._synonyms,
            )
        )

    def _split(self, text: str) -> list[str]:
        split_sentences = re.split(r"(?<=[.?!])\s+", text)
        return [
            word for sentence in split_sentences for word in self._word_tokenizer.tokenize(sentence)
        ]


@cache
def load_synonyms() -> Synonyms:
    """WordNet's synonyms, read once; none where WordNet is not installed."""
    for root in _wordnet_roots():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that other languages are missing
            return Synonyms(_WordNet(root, None))
    return Synonyms(None)


def _wordnet_roots() -> Iterator[PathPointer]:
    for name in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
        try:
            yield nltk.data.find(name)
        except LookupError:
            continue
    if (DEBIAN_WORDNET / "data.noun").is_file():
        if str(DEBIAN_WORDNET) not in nltk.data.path:  # nltk reads only from its own folders
            nltk.data.path.append(str(DEBIAN_WORDNET))
        yield FileSystemPathPointer(str(DEBIAN_WORDNET))
