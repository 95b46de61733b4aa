"""Cases in, drafts out: the one face of the model floor. Knows no rows, files of films or queues.

torch is imported when a network is loaded, not before, so that a process which only asks for the
manifest, or measures with the NullReporter, stays light.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from model.case import Case, DraftText, FailedCase
from model.decoding import Serving
from model.errors import BundleError
from model.inference.counters import EngineCounters
from model.manifest import NULL, Manifest, read_manifest
from model.progress import ProgressCallback, no_progress
from model.prompting.prompt import build_instruction, choose_template, instruction_without_priors
from model.prompting.sections import split_sections

if TYPE_CHECKING:
    from model.inference.engine import Engine


class Drafting(Protocol):
    """What a worker needs of a reporter."""

    @property
    def manifest(self) -> Manifest:
        """What the loaded bundle says of itself."""
        ...

    @property
    def settings_digest(self) -> str:
        """SHA-256 of the settings that shape the text, in hex; on every draft."""
        ...

    @property
    def slots(self) -> int:
        """Studies that are written at the same time."""
        ...

    @property
    def counters(self) -> EngineCounters:
        """Counts of all that was done since it was loaded."""
        ...

    def draft(self, cases: Iterable[Case | None]) -> Iterator[DraftText | FailedCase]:
        """A draft or a failure for each case, as they fall ready; any order, by key.

        cases: is asked in the caller's thread, only when there is room. None says that nothing is
        ready just now: what is in flight goes on, and it is asked again; with nothing in flight,
        None is the end.
        """
        ...


class Reporter:
    """A loaded bundle. Make one with `Reporter.load`; it holds its device until it is dropped."""

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        """Refuse what must not be served: `BundleError`, as `model.prompting.prompt.choose_template`."""
        self._engine = engine
        self._manifest = manifest
        self._template = choose_template(manifest)
        if not engine.fits(instruction_without_priors(self._template)):
            raise BundleError(
                f"the bundle {manifest.name} {manifest.version} reads instructions of "
                f"{manifest.max_instruction_tokens} tokens, fewer than its template "
                f"{self._template!r} has without any prior: make it again with more"
            )

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        device: str | None = None,
        serving: Serving | None = None,
        progress: ProgressCallback = no_progress,
    ) -> Reporter:
        """Verify and load a bundle, by shipped name ("demo") or folder.

        device: "cpu", "cuda", "cuda:1"; None takes a GPU where there is one. progress: is
        called while the bundle is checked, loaded and warmed up.

        Raises:
            BundleError: the bundle is missing, changed, or not for this software.
            DeviceError: there is no such device, or it has no room.
        """
        from model.inference.engine import Engine

        engine, manifest = Engine.load(bundle, device, serving, progress)
        return cls(engine, manifest)

    @property
    def manifest(self) -> Manifest:
        """What the loaded bundle says of itself."""
        return self._manifest

    @property
    def settings_digest(self) -> str:
        """SHA-256 of the settings that shape the text, in hex: tokens, beams, dtype."""
        return _digest(self._engine.settings)

    @property
    def slots(self) -> int:
        """Studies that are written at the same time."""
        return self._engine.slots

    @property
    def counters(self) -> EngineCounters:
        """Counts of all that was done since it was loaded."""
        return self._engine.counters

    def draft(self, cases: Iterable[Case | None]) -> Iterator[DraftText | FailedCase]:
        """A draft for each case; `cases` is asked as `Drafting.draft` says.

        A case that cannot be drafted comes back as FailedCase with a CaseError; its batch mates
        are drafted all the same.

        Raises:
            DeviceError: the device failed; cases not yet given back are to be drafted again.
        """
        template, fits = self._template, self._engine.fits
        asked = (
            None if case is None else (case, build_instruction(case, template, fits))
            for case in cases
        )
        for written in self._engine.write(asked):
            if isinstance(written, FailedCase):
                yield written
                continue
            sections = split_sections(written.text)
            yield DraftText(
                key=written.key,
                text=written.text,
                findings=sections.findings,
                impression=sections.impression,
                prompt=written.prompt,
                tokens=written.tokens,
                logprobs=written.logprobs,
                seconds=written.seconds,
                device=self._engine.device_name,
                dtype=self._engine.dtype_name,
                cut=written.cut,
                rerun=written.rerun,
            )


class NullReporter:
    """A reporter that looks at nothing, for measuring everything around the model."""

    TEXT = (
        "Findings: No model has looked at this film. "
        "Impression: This draft was not written by a model."
    )

    @property
    def manifest(self) -> Manifest:
        """A manifest named "null"."""
        return NULL

    slots: int = 64

    def __init__(self) -> None:
        self.counters = EngineCounters()

    @property
    def settings_digest(self) -> str:
        """Of the one fixed text."""
        return _digest({"text": self.TEXT})

    def draft(self, cases: Iterable[Case | None]) -> Iterator[DraftText | FailedCase]:
        """The same fixed draft for every case, at once."""
        sections = split_sections(self.TEXT)
        for case in cases:
            if case is None:
                return
            self.counters.studies += 1
            yield DraftText(
                key=case.key,
                text=self.TEXT,
                findings=sections.findings,
                impression=sections.impression,
                prompt=build_instruction(case, NULL.template),
                tokens=(),
                logprobs=(),
                seconds={"generate": 0.0},
                device="none",
                dtype="none",
            )


def load_reporter(
    bundle: str | Path,
    device: str | None = None,
    serving: Serving | None = None,
    progress: ProgressCallback = no_progress,
) -> Reporter | NullReporter:
    """The reporter for a bundle; "null" is the one that looks at nothing. As `Reporter.load`.

    Raises:
        BundleError, DeviceError: as `Reporter.load`.
    """
    if str(bundle) == NULL.name:
        return NullReporter()
    return Reporter.load(bundle, device, serving, progress)


def _digest(settings: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


__all__ = ["Drafting", "NullReporter", "Reporter", "load_reporter", "read_manifest"]
