"""The model floor's interface to its callers: cases go in, drafts come out.

torch is imported only when a network is loaded, so that a process stays light that reads no more
than a manifest or measures with the NullReporter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
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
from model.support.calibration import Calibration
from model.support.predicted import PREDICTED, PredictedInstructions

if TYPE_CHECKING:
    from model.inference.engine import Engine


class Drafter(Protocol):
    """What a worker needs of a reporter; `Reporter` and `NullReporter` offer it."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the loaded bundle."""
        ...

    @property
    def settings_digest(self) -> str:
        """SHA-256 in hex of the settings that shape the text; every draft carries it."""
        ...

    @property
    def slots(self) -> int:
        """Studies that are written at once."""
        ...

    @property
    def counters(self) -> EngineCounters:
        """Counts of everything done since the model was loaded."""
        ...

    @property
    def device_name(self) -> str:
        """The device's name for people."""
        ...

    def use_calibration(self, calibration: Calibration) -> None:
        """Take these thresholds of finding scores into use in place of the bundle's own.

        They shape the text where they fill the prompt (the template `predicted`), and only there.
        """
        ...

    def draft(self, cases: Iterable[Case | None]) -> Iterator[DraftText | FailedCase]:
        """Draft each case; drafts come as they are ready, in any order.

        Args:
            cases: They are read in the caller's thread, only while there is room. None means that
                nothing is ready now: what is active goes on, and the cases are read again. With
                nothing active, None is the end.

        Yields:
            A draft, or a failure, for each case; its key is the case's.
        """
        ...


class Reporter:
    """A loaded bundle, made by `Reporter.load`. It holds its device until it is deleted."""

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        """Wrap a loaded engine.

        Raises:
            BundleError: The bundle's template must not be served (as `choose_template`), or the
                network cannot take it even without any prior.
        """
        self._engine = engine
        self._manifest = manifest
        self._template = choose_template(manifest)
        self._predicted = (
            PredictedInstructions.of(manifest, engine.score_findings, engine.fits)
            if self._template == PREDICTED
            else None
        )
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

        Args:
            bundle: A shipped bundle's name, or a folder.
            device: "cpu", "cuda", "cuda:1"; None takes a GPU where there is one.
            serving: How the bundle is served.
            progress: Is called while the bundle is checked, loaded and warmed up.

        Raises:
            BundleError: The bundle is missing, changed, or not for this software.
            DeviceError: There is no such device, or it has no memory for the bundle.
        """
        from model.inference.engine import Engine

        engine, manifest = Engine.load(bundle, device, serving, progress)
        return cls(engine, manifest)

    def use_calibration(self, calibration: Calibration) -> None:
        """Take these thresholds into use; as `Drafter.use_calibration`."""
        if self._predicted is not None:
            self._predicted = replace(self._predicted, calibration=calibration)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the loaded bundle."""
        return self._manifest

    @property
    def settings_digest(self) -> str:
        """SHA-256 in hex of the settings that shape the text: tokens, beams, dtype, thresholds."""
        settings = self._engine.settings
        if self._predicted is not None:
            settings["thresholds"] = self._predicted.calibration.as_json()["thresholds"]
        return _digest(settings)

    @property
    def slots(self) -> int:
        """Studies that are written at once."""
        return self._engine.slots

    @property
    def counters(self) -> EngineCounters:
        """Counts of everything done since the model was loaded."""
        return self._engine.counters

    @property
    def device_name(self) -> str:
        """The device's name for people."""
        return self._engine.device_name

    def draft(self, cases: Iterable[Case | None]) -> Iterator[DraftText | FailedCase]:
        """Draft each case; as `Drafter.draft`.

        A case that cannot be drafted comes back as a FailedCase with a CaseError. The rest of its
        batch is drafted.

        Raises:
            DeviceError: The device failed. Cases not yet given back are to be drafted again.
        """
        scores_of_prompt: dict[str, Mapping[str, float]] = {}

        def prompted() -> Iterator[tuple[Case, str] | None]:
            for case in cases:
                if case is None:
                    yield None
                elif self._predicted is None:
                    yield case, build_instruction(case, self._template, self._engine.fits)
                else:
                    instruction, scores_of_prompt[case.key] = self._predicted(case)
                    yield case, instruction

        for output in self._engine.write(prompted()):
            scores = scores_of_prompt.pop(output.key, None)
            if isinstance(output, FailedCase):
                yield output
                continue
            sections = split_sections(output.text)
            yield DraftText(
                key=output.key,
                text=output.text,
                findings=sections.findings,
                impression=sections.impression,
                prompt=output.prompt,
                tokens=output.tokens,
                logprobs=output.logprobs,
                seconds=output.seconds,
                device=self._engine.device_name,
                dtype=self._engine.dtype_name,
                cut=output.cut,
                rerun=output.rerun,
                finding_scores=output.finding_scores if scores is None else dict(scores),
            )


class NullReporter:
    """A reporter without a network, for measuring everything around the model."""

    TEXT = (
        "Findings: No model has looked at this film. "
        "Impression: This draft was not written by a model."
    )

    @property
    def manifest(self) -> Manifest:
        """A manifest named "null"."""
        return NULL

    slots: int = 64
    device_name: str = "none"

    def __init__(self) -> None:
        self.counters = EngineCounters()

    @property
    def settings_digest(self) -> str:
        """SHA-256 in hex of the fixed text."""
        return _digest({"text": self.TEXT})

    def use_calibration(self, calibration: Calibration) -> None:
        """Change nothing: the text is fixed."""

    def draft(self, cases: Iterable[Case | None]) -> Iterator[DraftText | FailedCase]:
        """Give every case the same draft, at once."""
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
    """Load the reporter of a bundle; "null" gives the NullReporter. As `Reporter.load`.

    Raises:
        BundleError: As `Reporter.load`.
        DeviceError: As `Reporter.load`.
    """
    if str(bundle) == NULL.name:
        return NullReporter()
    return Reporter.load(bundle, device, serving, progress)


def _digest(settings: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


__all__ = ["Drafter", "NullReporter", "Reporter", "load_reporter", "read_manifest"]
