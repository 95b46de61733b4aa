"""Schedules one stream of cases: which request waits, is encoded, holds a slot, or has finished.

    pulled -> gathered (in a thread) -> encoded (in groups) -> admitted to a slot -> finished

A fault belongs to its own case only. A group that breaks is encoded again one by one. After the
decoder breaks, each of its requests runs alone once, and the one that breaks it again has failed.
A request that broke something alone is tried once more, too: the fault may have passed.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from model.case import FailedCase
from model.errors import CaseError, DeviceError
from model.inference.faults import as_case_error, is_device_fault, is_out_of_memory
from model.inference.model_runner import ModelRunner
from model.inference.types import EncodedRequest, PromptedCase, Request, RequestOutput
from model.network.clinicalblip import Inputs


@dataclass
class _Group:
    """Requests that are encoded together, and their tensors once the thread has made them."""

    requests: list[Request]
    inputs: Future[Inputs]


class Scheduler:
    """One stream of requests from its source through the slots of a runner."""

    def __init__(
        self,
        runner: ModelRunner,
        executor: ThreadPoolExecutor,
        source: Iterator[PromptedCase | None],
    ) -> None:
        """Prepare a stream.

        Args:
            runner: Runs the network.
            executor: Makes the tensors of a group while the device runs.
            source: The cases; None where nothing is ready at the moment.
        """
        self._runner = runner
        self._executor = executor
        self._source = source
        self._source_ended = False
        self._ids = itertools.count()
        self._groups: deque[_Group] = deque()
        self._encoded: deque[EncodedRequest] = deque()
        self._active: dict[int, Request] = {}
        self._failed: list[FailedCase] = []
        self._isolated: set[int] = set()
        """Requests one of which broke the decoder; each of them runs alone."""
        self._broken: set[int] = set()
        """Requests of groups that broke the encoder; each of them is encoded alone."""

    def run(self) -> Iterator[RequestOutput | FailedCase]:
        """Run until the source has ended and every request is finished.

        Raises:
            DeviceError: The device failed, or has no memory for one case.
        """
        runner = self._runner
        while True:
            pulled = self._pull()
            yield from self._take_failed()
            # One group at a time, and steps between: the first study does not wait until all free
            # slots are filled.
            if self._groups and len(self._encoded) < runner.free_slots:
                self._encode(self._groups.popleft())
            yield from self._take_failed()
            if self._is_idle(pulled):
                return  # the only study left has failed: there is no step to run
            try:
                self._admit()
                finished = runner.step()
            except Exception as error:
                self._recover(error)
                continue
            for each in finished:
                yield runner.output(self._active.pop(each.request_id), each)
            if self._is_idle(pulled):
                return

    def _is_idle(self, pulled: bool) -> bool:
        """Whether nothing is on its way, and the source has nothing at the moment."""
        waiting = self._groups or self._encoded or self._active or self._failed
        return not waiting and (self._source_ended or not pulled)

    def _take_failed(self) -> Iterator[FailedCase]:
        failed, self._failed = self._failed, []
        yield from failed

    def _pull(self) -> bool:
        """Pull cases while there is room for a group; False where the source had none."""
        runner = self._runner
        pulled = False
        while not self._source_ended:
            waiting = len(self._encoded) + sum(len(group.requests) for group in self._groups)
            room = runner.slots + 2 * runner.group_size - waiting - len(self._active)
            if room < runner.group_size:
                return True
            requests: list[Request] = []
            while len(requests) < runner.group_size:
                try:
                    prompted = next(self._source)
                except StopIteration:
                    self._source_ended, prompted = True, None
                if prompted is None:
                    break
                pulled = True
                self._add_request(prompted, requests)
            self._gather(requests)
            if len(requests) < runner.group_size:
                break
        return pulled

    def _add_request(self, prompted: PromptedCase, requests: list[Request]) -> None:
        runner, (case, prompt) = self._runner, prompted
        try:
            runner.check(case)
        except CaseError as error:
            self._failed.append(FailedCase(case.key, error))
            return
        limit = runner.limit(case)
        requests.append(Request(next(self._ids), case, prompt, limit, time.perf_counter()))

    def _gather(self, requests: list[Request]) -> None:
        if requests:
            inputs = self._executor.submit(self._runner.gather, requests)
            self._groups.append(_Group(requests, inputs))

    def _requeue(self, requests: list[Request]) -> None:
        """Put requests before all other groups, to be encoded together."""
        inputs = self._executor.submit(self._runner.gather, requests)
        self._groups.appendleft(_Group(requests, inputs))

    def _encode(self, group: _Group) -> None:
        """Encode a group; one that breaks is encoded one by one, to find the case at fault."""
        runner, requests = self._runner, group.requests
        try:
            inputs = group.inputs.result()
            gathered_at = time.perf_counter()
            encoded = runner.encode(inputs)
        except Exception as error:
            broken: Exception = error
        else:
            lengths = inputs.attention_mask.sum(dim=1).tolist()
            for n, request in enumerate(requests):
                request.gathered_at = gathered_at
                if encoded.finding_scores is not None:
                    request.finding_scores = encoded.finding_scores[n]
                self._encoded.append(
                    EncodedRequest(request, encoded.hidden[n], inputs.attention_mask[n], lengths[n])
                )
            return
        # Outside the handler, which would still hold the tensors of the failed group.
        if is_out_of_memory(broken):
            if len(requests) == 1:
                raise DeviceError(f"{runner.device_name} has no memory for one case") from broken
            if runner.group_size >= len(requests):
                runner.halve_group()
            size = (len(requests) + 1) // 2
        elif is_device_fault(broken):
            raise DeviceError(f"{runner.device_name} failed: {broken}") from broken
        elif len(requests) == 1 and (
            isinstance(broken, CaseError) or requests[0].id in self._broken
        ):
            self._failed.append(FailedCase(requests[0].case.key, as_case_error(broken)))
            return
        else:
            self._broken.update(request.id for request in requests)
            size = 1
        for start in reversed(range(0, len(requests), size)):
            self._requeue(requests[start : start + size])

    def _admit(self) -> None:
        """Admit encoded requests to the free slots; an isolated one only while no other runs."""
        count = min(len(self._encoded), self._runner.free_slots)
        isolated = [n for n, each in enumerate(self._encoded) if each.request.id in self._isolated]
        if isolated:
            first = isolated[0]
            count = int(not self._active) if first == 0 else min(count, first)
            if any(request_id in self._isolated for request_id in self._active):
                count = 0
        if not count:
            return
        admitted = [self._encoded.popleft() for _ in range(count)]
        now = time.perf_counter()
        for each in admitted:
            each.request.admitted_at = now
            self._active[each.request.id] = each.request
        self._runner.admit(admitted)

    def _recover(self, error: Exception) -> None:
        """Bring the active requests back after the decoder broke, so that none is lost.

        Where memory ran out, all of them run again with fewer slots. Any other error is the fault
        of one request, or of none: they run one after another, each alone, and one that breaks the
        decoder again has failed.

        Raises:
            DeviceError: The device failed.
        """
        runner = self._runner
        requests = list(self._active.values())
        self._active.clear()
        if is_device_fault(error):
            raise DeviceError(f"{runner.device_name} failed: {error}") from error
        if is_out_of_memory(error):
            runner.halve_slots()
        elif isinstance(error, DeviceError):
            raise error
        else:
            runner.reset()
            if len(requests) == 1 and requests[0].id in self._isolated:
                self._failed.append(FailedCase(requests[0].case.key, as_case_error(error)))
                return
            self._isolated.update(request.id for request in requests)
        for request in reversed(requests):
            self._requeue([request])
