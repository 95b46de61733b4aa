"""The examples of a training: a corpus, prepared once, with the priors that its prompts need.

<folder>/shelf-train, shelf-validate   the prepared corpus
<folder>/predicted.json                the priors of the template `predicted`
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from model.errors import TemplateError
from model.labels import RuleLabeller
from model.manifest import Manifest, read_manifest
from model.prompting.prompt import TEMPLATES, PriorSource, get_template
from model.support.predicted import PREDICTED
from records.errors import CorpusError, SettingsError
from training.corpus.example import TRAIN, VALIDATE, Corpus, CorpusOptions, Example, ExcludedStudy
from training.corpus.prepared_dataset import PreparedDataset, open_prepared, prepare_dataset
from training.corpus.registry import ENDLESS_CORPORA
from training.finetuning.batches import SampleTransform
from training.finetuning.finding_head import HeadConfig
from training.finetuning.predicted_priors import PredictedPriors, PriorsSource
from training.finetuning.processes import process_state
from training.finetuning.stages import Stage

MAX_VALIDATION_EXAMPLES = 1_000
"""Validation examples that are prepared; a validation reads no more of them."""
PREDICTED_FILE = "predicted.json"
"""The priors of the template `predicted`."""


@dataclass(frozen=True)
class TrainingData:
    """The examples of a training.

    Args:
        base: The manifest of the bundle to start from, whose preprocessing the images get.
        corpus: What to learn from.
        options: How it is read.
        folder: Where it is prepared.
        transform: How an example becomes a sample.
        limit: How many examples are taken at most; 0 takes all. A corpus without end needs one.
        seed: Of the heads that predict priors.
        predicted_by: The bundle whose network predicts the priors of the template `predicted`; ""
            where no prompt has that template.
        processes: Processes that prepare the corpus; None takes one a core, 0 this process.
        device: None takes a GPU where there is one.
        log: Gets lines for a person.
    """

    base: Manifest
    corpus: Corpus
    options: CorpusOptions
    folder: Path
    transform: SampleTransform
    limit: int = 0
    seed: int = 0
    predicted_by: str = ""
    processes: int | None = None
    device: str | None = None
    log: Callable[[str], None] = print

    # ---- Checks ----

    @property
    def endless(self) -> bool:
        """Whether the corpus has no end."""
        return self.corpus.name in ENDLESS_CORPORA

    def check(self) -> None:
        """Find wrong settings before anything is read.

        Raises:
            BundleError: There is no bundle that predicts priors.
            TemplateError: There is no such template, or nothing fills it.
            SettingsError: The corpus has no end, and there is no limit; or what fills the template
                `predicted` does not go with the rest.
        """
        if self.endless and not self.limit:
            raise SettingsError(f"{self.corpus.name} has no end: say how many studies (--limit)")
        for name in self.transform.templates:
            get_template(name)
        if PREDICTED in self.transform.templates:
            self._check_prediction()
        elif self.predicted_by:
            raise SettingsError(
                f"no prompt holds what {self.predicted_by} would predict: leave --predicted-by "
                f"out, or ask for --prompt {PREDICTED}"
            )

    def _check_prediction(self) -> None:
        if not self.predicted_by:
            raise TemplateError(
                f"nothing fills the template {PREDICTED!r}: give --predicted-by a bundle that did "
                "not learn from these studies, such as the base"
            )
        predicting, base = (m.preprocessing for m in (self.predicting_manifest, self.base))
        if (predicting.size, predicting.resize) != (base.size, base.resize):
            raise SettingsError(
                f"{self.predicted_by} reads images of {predicting.size} pixels "
                f"({predicting.resize}) and the base of {base.size} ({base.resize}): give "
                "--predicted-by a bundle that reads them as the base does"
            )
        if not (self.options.validate or self.endless):
            raise SettingsError(
                f"the template {PREDICTED!r} needs held-out studies, for the thresholds that fill "
                "it when the bundle serves: give --validation-share a share of the patients, such "
                "as 0.1"
            )

    # ---- Examples ----

    @cached_property
    def training(self) -> PreparedDataset:
        """The examples to learn from."""
        return self._prepare(TRAIN, self.limit)

    @cached_property
    def validation(self) -> Sequence[Example]:
        """Examples for the validation loss; none if the corpus has no validation split."""
        if not (self.options.validate or self.endless):
            return ()
        try:
            return self._prepare(VALIDATE, MAX_VALIDATION_EXAMPLES)
        except CorpusError:
            return ()

    def _prepare(self, split: str, limit: int) -> PreparedDataset:
        state, folder = process_state(self.device), self.folder / f"shelf-{split}"
        preprocessing = self.base.preprocessing
        identity = dataset_identity(self.corpus, self.options, split, limit)
        try:
            if state.is_main_process:
                self.log(f"preparing the {split} split of {self.corpus.name}")
                stream = _first_examples(self.corpus, split, limit)
                dataset = prepare_dataset(
                    folder, stream, preprocessing, identity, processes=self.processes
                )
                summary = f"{len(dataset):,} examples of {split}"
                if left_out := dataset.about["left_out"]:
                    summary += "; left out: " + ", ".join(
                        f"{count:,} {reason}" for reason, count in left_out.items()
                    )
                self.log(summary)
        finally:
            # The other processes have to wait here even if the preparation failed.
            state.wait_for_everyone()
        prepared = open_prepared(folder, preprocessing, identity)
        if prepared is None:
            raise CorpusError(f"nothing of {self.corpus.name} was prepared at {folder}")
        return prepared

    @cached_property
    def predicted_priors(self) -> PredictedPriors:
        """The priors of the template `predicted`, of training and validation examples.

        They are predicted once, by the first process, and kept in the training's folder.

        Raises:
            CorpusError, NotAllowed: As `predict_priors`.
        """
        state, path = process_state(self.device), self.folder / PREDICTED_FILE
        source = PriorsSource(
            self.predicting_manifest,
            self.training,
            self.validation,
            RuleLabeller(),
            self.transform,
            HeadConfig(seed=self.seed),
        )
        try:
            if state.is_main_process:
                self.log(f"predicting priors with {self.predicted_by}")
                predicted = source.predict(path, self.predicted_by, state.device)
                for part in ("training", "held out"):
                    figures = predicted.record[part].items()
                    words = ", ".join(f"{name} {value:,}" for name, value in figures)
                    self.log(f"predicted priors, {part}: {words}")
        finally:
            state.wait_for_everyone()
        return source.read(path)

    @cached_property
    def predicting_manifest(self) -> Manifest:
        """The manifest of the bundle that predicts priors.

        Raises:
            BundleError: There is no such bundle.
        """
        return read_manifest(self.predicted_by)

    def has_predicted_priors(self, stage: Stage) -> bool:
        """Whether a stage has prompts with the template `predicted`."""
        return stage.priors and PREDICTED in self.transform.templates

    def examples_of(self, stage: Stage) -> tuple[Sequence[Example], Sequence[Example]]:
        """The training and the validation examples of a stage, with the priors that it needs.

        Raises:
            CorpusError: The corpus cannot be read, or has no labels for a template.
            NotAllowed: As `predict_priors`.
        """
        if not stage.priors:
            return self.training, self.validation
        for name in self.transform.templates:
            offered = self.training[0].oracle_template
            if TEMPLATES[name].source is PriorSource.REPORT and name != offered:
                raise CorpusError(
                    f"the corpus {self.corpus.name} has nothing for the template {name!r}: ask for "
                    f"{offered or 'context'!r}"
                )
        if not self.has_predicted_priors(stage):
            return self.training, self.validation
        predicted, held_out = self.predicted_priors, self.validation
        if isinstance(held_out, PreparedDataset):
            held_out = held_out.with_symptoms(predicted.validation)
        return self.training.with_symptoms(predicted.training), held_out

    def remove_prepared(self) -> None:
        """Remove the prepared corpus, because its images and texts may be of patients."""
        for split in (TRAIN, VALIDATE):
            shutil.rmtree(self.folder / f"shelf-{split}", ignore_errors=True)
        (self.folder / PREDICTED_FILE).unlink(missing_ok=True)


def dataset_identity(
    corpus: Corpus, options: CorpusOptions, split: str, limit: int
) -> dict[str, Any]:
    """What the examples of a split depend on, as data for a prepared dataset."""
    reading = asdict(options)
    return {"corpus": corpus.identity, "reading": reading, "split": split, "limit": limit}


def _first_examples(corpus: Corpus, split: str, limit: int) -> Iterator[Example | ExcludedStudy]:
    stream = corpus.read(split)
    return islice(stream, limit) if limit else stream
