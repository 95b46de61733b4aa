"""Reporters that fail on purpose; all other parts of drafting are real in the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from model.case import Case, DraftText, FailedCase
from model.errors import CaseError
from model.reporter import NullReporter


class Reporter(NullReporter):
    """The null reporter, in batches as a real one, with a say on each case and each batch.

    poison(case): this case fails, by itself. breaks(batch): an error that the whole stream dies of.
    """

    def __init__(
        self,
        *,
        poison: Callable[[Case], bool] = lambda case: False,
        breaks: Callable[[list[Case]], Exception | None] = lambda batch: None,
        batch: int = 4,
    ) -> None:
        super().__init__()
        self.slots = batch
        self.poison, self.breaks, self.batch = poison, breaks, batch
        self.batches: list[list[str]] = []

    def draft(self, cases: Iterable[Case | None]) -> Iterator[DraftText | FailedCase]:
        gathered: list[Case] = []
        for case in cases:
            if case is not None:
                gathered.append(case)
            elif not gathered:
                return
            if case is None or len(gathered) == self.batch:
                yield from self.write_batch(gathered)
                gathered = []
        if gathered:
            yield from self.write_batch(gathered)

    def write_batch(self, batch: list[Case]) -> Iterator[DraftText | FailedCase]:
        self.batches.append([case.key for case in batch])
        if error := self.breaks(batch):
            raise error
        for case in batch:
            if self.poison(case):
                yield FailedCase(case.key, CaseError("the network failed on this case"))
            else:
                yield from super().draft([case])
