"""One stream of cases through an engine: who waits where between the iterator and the slots.

    pulled -> gathered (a thread) -> read (in groups) -> on board -> landed

Whatever breaks on the way is its own case's failure: a group that breaks is read one by one, and
after a decoder that broke everybody flies alone, once. Knows no network and no device.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from model.case import Case, FailedCase
from model.errors import CaseError, DeviceError
from model.inference.faults import as_case_error, is_device_fault, is_out_of_memory

if TYPE_CHECKING:
    from model.inference.engine import Engine, Written
    from model.network.clinicalblip import Inputs

Asked = tuple[Case, str]
"""A case and its instruction."""


@dataclass
class Study:
    """A case on its way. number: ours, unique among those in flight."""

    number: int
    case: Case
    prompt: str
    limit: int
    since: float
    gathered: float = 0.0
    boarded: float = 0.0


@dataclass
class _Group:
    """Studies that are read together, and their tensors as soon as the thread has made them."""

    studies: list[Study]
    inputs: Future[Inputs]


@dataclass
class Read:
    """A study that T5's encoder has read. hidden: (L, W); mask: (L,); length: of it that counts."""

    study: Study
    hidden: torch.Tensor
    mask: torch.Tensor
    length: int


class Stream:
    """One call of `write`: who waits where between its iterator and the slots."""

    def __init__(
        self, engine: Engine, thread: ThreadPoolExecutor, source: Iterator[Asked | None]
    ) -> None:
        self._engine = engine
        self._thread = thread
        self._source = source
        self._ended = False
        self._groups: deque[_Group] = deque()
        self._ready: deque[Read] = deque()
        self._on_board: dict[int, Study] = {}
        self._failed: list[FailedCase] = []
        self._alone: set[int] = set()
        """Studies one of which broke the decoder: each is on board alone."""

    def run(self) -> Iterator[Written | FailedCase]:
        """Everything, until the source has ended and all has landed."""
        engine = self._engine
        while True:
            came = self._pull()
            yield from self._failures()
            while self._groups and len(self._ready) < engine.free:
                self._encode(self._groups.popleft())
            yield from self._failures()
            try:
                self._board()
                landed = engine.fly()
            except Exception as error:
                self._broke(error)
                continue
            for one in landed:
                yield engine.written(self._on_board.pop(one.key), one)
            if not (self._groups or self._ready or self._on_board) and (self._ended or not came):
                return

    def _failures(self) -> Iterator[FailedCase]:
        failed, self._failed = self._failed, []
        yield from failed

    def _pull(self) -> bool:
        """Take cases while there is room for a group of them; False where none was to be had."""
        engine = self._engine
        came = False
        while not self._ended:
            waiting = len(self._ready) + sum(len(group.studies) for group in self._groups)
            room = engine.slots + 2 * engine.group - waiting - len(self._on_board)
            if room < engine.group:
                return True
            studies: list[Study] = []
            while len(studies) < engine.group:
                try:
                    asked = next(self._source)
                except StopIteration:
                    self._ended, asked = True, None
                if asked is None:
                    break
                came = True
                self._check(asked, studies)
            self._gather(studies)
            if len(studies) < engine.group:
                break
        return came

    def _check(self, asked: Asked, studies: list[Study]) -> None:
        engine, (case, prompt) = self._engine, asked
        try:
            engine.check(case)
        except CaseError as error:
            self._failed.append(FailedCase(case.key, error))
            return
        number = next(engine.numbers)
        studies.append(Study(number, case, prompt, engine.limit(case), time.perf_counter()))

    def _gather(self, studies: list[Study]) -> None:
        if studies:
            made = self._thread.submit(self._engine.gather, studies)
            self._groups.append(_Group(studies, made))

    def _encode(self, group: _Group) -> None:
        """Read a group; one that breaks is read one by one, and who breaks alone has failed."""
        engine, studies = self._engine, group.studies
        try:
            inputs = group.inputs.result()
            gathered = time.perf_counter()
            hidden = engine.encode(inputs)
        except Exception as error:
            broken: Exception = error
        else:
            lengths = inputs.words_mask.sum(dim=1).tolist()
            for n, study in enumerate(studies):
                study.gathered = gathered
                self._ready.append(Read(study, hidden[n], inputs.words_mask[n], lengths[n]))
            return
        # Outside the handler, so that the failed group's tensors are no longer held by it.
        if is_out_of_memory(broken):
            if len(studies) == 1:
                raise DeviceError(f"{engine.device_name} has no memory for one case") from broken
            if engine.group >= len(studies):
                engine.halve(slots=False)
            part = (len(studies) + 1) // 2
        elif is_device_fault(broken):
            raise DeviceError(f"{engine.device_name} failed: {broken}") from broken
        elif len(studies) == 1:
            self._failed.append(FailedCase(studies[0].case.key, as_case_error(broken)))
            return
        else:
            part = 1
        for start in reversed(range(0, len(studies), part)):
            half = studies[start : start + part]
            self._groups.appendleft(_Group(half, self._thread.submit(engine.gather, half)))

    def _board(self) -> None:
        """Those that are read to the free slots; a suspect when nobody else is there."""
        count = min(len(self._ready), self._engine.free)
        suspects = [n for n, one in enumerate(self._ready) if one.study.number in self._alone]
        if suspects:
            first = suspects[0]
            count = int(not self._on_board) if first == 0 else min(count, first)
            if any(number in self._alone for number in self._on_board):
                count = 0
        if not count:
            return
        boarding = [self._ready.popleft() for _ in range(count)]
        now = time.perf_counter()
        for one in boarding:
            one.study.boarded = now
            self._on_board[one.study.number] = one.study
        self._engine.board(boarding)

    def _broke(self, error: Exception) -> None:
        """The decoder broke with all on board; nobody is lost.

        Memory that ran out: fewer slots from now on, and everybody again. A failing device is told.
        Anything else is somebody's own fault: one after another, alone, and who breaks it again has
        failed.
        """
        engine = self._engine
        again = list(self._on_board.values())
        self._on_board.clear()
        if is_device_fault(error):
            raise DeviceError(f"{engine.device_name} failed: {error}") from error
        if is_out_of_memory(error):
            engine.halve(slots=True)
        elif isinstance(error, DeviceError):
            raise error
        else:
            engine.reset()
            if len(again) == 1:
                self._failed.append(FailedCase(again[0].case.key, as_case_error(error)))
                return
            self._alone.update(study.number for study in again)
        for study in reversed(again):
            self._groups.appendleft(_Group([study], self._thread.submit(engine.gather, [study])))
