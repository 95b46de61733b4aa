"""Divides a span of dates into questions whose answers a PACS does not cut.

A PACS may end a long list without a word. An answer is taken for cut where the PACS says so, where
it is as long as the PACS is known to allow, and where halves of its span turn out to hold more. So
an answer is doubted whose length is a round number, or which is as long as the longest one so far:
its span is asked again in halves. What is still cut at the end is named with its dates and times.

The whole state is a position in JSON: a walk goes on exactly.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from intake.archive.errors import PacsAway
from intake.archive.listed import ListedStudy
from records.campaigns.pacs_query import PacsQuery

DAY_SECONDS = 86_400

FIRST_DAYS = 8
LAST_DAYS = 64
"""Days of one question, at first and at most. It halves where an answer was cut."""

FEW_ANSWERS = 50
"""An answer that is shorter lets the next question ask for twice as many days."""

DOUBTED_FROM = 20
"""Shorter answers are not doubted: no PACS cuts there."""

HOUR_SECONDS = 3_600

FAILURES_IN_A_ROW = 32
"""Short answers that are cut are divided no more after so many in a row: that is no limit, but a
PACS that ends every answer with an error. From the most days to one second there are fewer."""

BAD_SECONDS = 20
"""A record that a PACS cannot read spoils each answer that has it, so its second is searched for.
Where more seconds were bad than so many and as many as there were good answers, it is not the
records: then only parts of an hour are told apart."""

NAMED_SPANS = 20
"""Spans that a sentence names; the others are counted."""

_ROUND = 50
_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Span:
    """Dates, or a part of one day, and one modality.

    Attributes:
        first: the first day.
        last: the last day.
        begins: seconds since midnight, where it is a part of one day.
        ends: the last second.
        modality: (0008,0061); "" is any.
        doubt: the number of the doubt that it settles; 0 is none.
    """

    first: dt.date
    last: dt.date
    begins: int = 0
    ends: int = DAY_SECONDS - 1
    modality: str = ""
    doubt: int = 0

    @property
    def is_part_of_day(self) -> bool:
        """Whether it is asked for with a time."""
        return (self.begins, self.ends) != (0, DAY_SECONDS - 1)

    @property
    def is_short(self) -> bool:
        """Whether it is less than an hour."""
        return self.first == self.last and self.ends - self.begins < HOUR_SECONDS

    @property
    def dates(self) -> str:
        """A range for (0008,0020), or one date (PS3.4 C.2.2.2.5)."""
        if self.first == self.last:
            return f"{self.first:%Y%m%d}"
        return f"{self.first:%Y%m%d}-{self.last:%Y%m%d}"

    @property
    def times(self) -> str:
        """A range for (0008,0030); "" for whole days. The last second is asked for as a whole."""
        if not self.is_part_of_day:
            return ""
        return f"{_clock(self.begins)}-{_clock(self.ends)}.999999"

    def halves(self) -> tuple[Span, Span] | None:
        """Its two halves; None where it is one second."""
        days = (self.last - self.first).days
        if days:
            middle = self.first + dt.timedelta(days=days // 2)
            return replace(self, last=middle), replace(self, first=middle + dt.timedelta(days=1))
        if self.ends <= self.begins:
            return None
        second = (self.begins + self.ends) // 2
        return replace(self, ends=second), replace(self, begins=second + 1)

    def has(self, study: ListedStudy) -> bool:
        """Whether a study's date, and its time where both are given, lie within."""
        return not self.is_outside_dates(study) and not self.is_outside_times(study)

    def is_outside_dates(self, study: ListedStudy) -> bool:
        """Whether the study's date is given and lies outside."""
        date = _date(study.date)
        return date is not None and not self.first <= date <= self.last

    def is_outside_times(self, study: ListedStudy) -> bool:
        """Whether the study's time is given and lies outside."""
        second = _second(study.time)
        return second is not None and not self.begins <= second <= self.ends

    def to_json(self) -> list[Any]:
        """As a position holds it."""
        return [
            self.first.isoformat(),
            self.last.isoformat(),
            self.begins,
            self.ends,
            self.modality,
            self.doubt,
        ]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Span:
        """What `to_json` made."""
        first, last, begins, ends, modality, doubt = value
        return cls(
            dt.date.fromisoformat(first), dt.date.fromisoformat(last), begins, ends, modality, doubt
        )

    def __str__(self) -> str:
        if self.is_part_of_day:
            text = f"{self.first} {_plain_clock(self.begins)} to {_plain_clock(self.ends)}"
        else:
            text = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        return f"{text} ({self.modality})" if self.modality else text


@dataclass(frozen=True, slots=True)
class Answer:
    """What a PACS answered to one question.

    Attributes:
        studies: as it gave them; some may lie outside of what was asked for.
        is_cut: whether it said that there is more, or ended with another status than success.
        refusal: where it answered nothing but an error: a sentence about that.
    """

    studies: Sequence[ListedStudy]
    is_cut: bool = False
    refusal: str = ""


@dataclass
class SpanWalk:
    """Says what to ask next, and judges the answers.

    Args:
        query: dates and modalities.
        cut_at: the length at which the PACS is known to cut; 0 is not known.
        position: what `position` gave before, to go on there.
    """

    query: PacsQuery
    cut_at: int = 0
    position: Mapping[str, Any] | None = None
    cut: list[Span] = field(default_factory=list)
    """Spans whose answers were cut, and that could not be divided any more."""
    asked_again: list[Span] = field(default_factory=list)
    """Spans that the PACS did not answer, and that are asked once more at the end of the round."""
    without_time: list[dt.date] = field(default_factory=list)
    """Days that were divided by time, and that have studies without a time."""

    def __post_init__(self) -> None:
        saved = self.position or {}
        self._next = dt.date.fromisoformat(saved.get("next", self.query.first.isoformat()))
        self._days = int(saved.get("days", FIRST_DAYS))
        self._open = [Span.from_json(value) for value in saved.get("open", ())]
        self._limit = int(saved.get("limit", self.cut_at))
        self._longest = int(saved.get("longest", 0))
        # By number: the length that is doubted, what its halves have had, how many are to come.
        self._doubts = {int(key): list(value) for key, value in saved.get("doubts", {}).items()}
        self._last_doubt = int(saved.get("last_doubt", 0))
        self._was_cut = bool(saved.get("was_cut", False))
        self._most_of_round = int(saved.get("most_of_round", 0))
        self._failures = int(saved.get("failures", 0))
        self.asked_again = [Span.from_json(value) for value in saved.get("asked_again", ())]
        self._bad_seconds = int(saved.get("bad_seconds", 0))
        self._good_answers = int(saved.get("good_answers", 0))
        self.cut = [Span.from_json(value) for value in saved.get("cut", ())]
        self.without_time = [dt.date.fromisoformat(day) for day in saved.get("without_time", ())]
        self._seen: set[str] = set()

    def next_span(self) -> Span | None:
        """What is to be asked next, until `take` is called; None where all is asked."""
        if not self._open:
            self._begin_round()
        return self._open[-1] if self._open else None

    def take(self, span: Span, answer: Answer) -> list[ListedStudy]:
        """Judge the answer to `span`, which was the next one.

        Returns:
            The studies that count: within the dates, with one of the modalities where the answer
            names modalities, each once.
        """
        assert self._open.pop() == span, "the answer is to another question"
        count = len(answer.studies)
        self._settle_doubt(span, count)
        self._most_of_round = max(self._most_of_round, count)
        if self._limit and count > self._limit and not self.cut_at:
            self._limit = 0  # new studies came while the halves were asked, and it never cut there
        self._longest = max(self._longest, count)
        is_at_limit = bool(self._limit and count >= self._limit)
        is_failure = answer.is_cut and count < DOUBTED_FROM and not is_at_limit
        if not is_failure:
            self._failures = 0
            self._settle_failure(span)
        elif span not in self.asked_again:  # those follow on one another
            self._failures += 1
        self._good_answers += bool(count) and not answer.is_cut
        if is_failure and not self._helps_dividing(span):
            self._was_cut = True
            self._note_failure(span)
        elif answer.is_cut or is_at_limit:
            self._was_cut = True
            self._settle_failure(span)
            self._divide(span, answer, doubt=0)
        elif not self._limit and self._is_doubtful(count):
            self._last_doubt += 1
            self._doubts[self._last_doubt] = [count, 0, 2]
            self._divide(span, answer, doubt=self._last_doubt)
        return self._choose(span, answer)

    def to_position(self) -> dict[str, Any]:
        """The whole state, for JSON."""
        return {
            "next": self._next.isoformat(),
            "days": self._days,
            "open": [span.to_json() for span in self._open],
            "limit": self._limit,
            "longest": self._longest,
            "doubts": {str(key): value for key, value in self._doubts.items()},
            "last_doubt": self._last_doubt,
            "was_cut": self._was_cut,
            "most_of_round": self._most_of_round,
            "failures": self._failures,
            "asked_again": [span.to_json() for span in self.asked_again],
            "bad_seconds": self._bad_seconds,
            "good_answers": self._good_answers,
            "cut": [span.to_json() for span in self.cut],
            "without_time": [day.isoformat() for day in self.without_time],
        }

    def note(self) -> str:
        """What may have been left out, for a person; "" where nothing was."""
        sentences = []
        if self.cut:
            sentences.append(
                f"The PACS may have cut its answers, so that studies of these times are left out: "
                f"{_named(self.cut)}."
            )
        if self.without_time:
            days = [day.isoformat() for day in self.without_time]
            sentences.append(
                f"Studies without a time may be left out on these days, of which the PACS gave no "
                f"whole list: {_named(days)}."
            )
        return " ".join(sentences)

    def _begin_round(self) -> None:
        """Open the questions about the next days, one for each modality."""
        if self._was_cut:
            self._days = max(1, self._days // 2)
        elif self._next > self.query.first and self._most_of_round < FEW_ANSWERS:
            self._days = min(2 * self._days, LAST_DAYS)
        self._was_cut, self._most_of_round = False, 0
        self._seen.clear()
        if self._next > self.query.last:
            return
        last = min(self._next + dt.timedelta(days=self._days - 1), self.query.last)
        for modality in reversed(self.query.modalities or ("",)):
            self._open.append(Span(self._next, last, modality=modality))
        self._next = last + dt.timedelta(days=1)

    def _is_doubtful(self, count: int) -> bool:
        """Whether an answer may have been cut: a new longest one may be, for no longer one came."""
        if count < DOUBTED_FROM:
            return False
        is_round = (
            count % _ROUND == 0 or (count + 1) % _HUNDRED == 0 or count & (count - 1) == 0
        )  # 100, 99, 128
        return is_round or count == self._longest

    def _helps_dividing(self, span: Span) -> bool:
        """Whether halves of a span may be good of which the PACS gave few studies and an error."""
        if span.halves() is None or self._failures > FAILURES_IN_A_ROW:
            return False
        return not span.is_short or self._bad_seconds <= BAD_SECONDS + self._good_answers

    def _divide(self, span: Span, answer: Answer, doubt: int) -> None:
        """Open the halves of a span; where it has none, or they would not help, note the cut."""
        halves = span.halves()
        ignores_dates = any(map(span.is_outside_dates, answer.studies))
        ignores_times = span.is_part_of_day and any(map(span.is_outside_times, answer.studies))
        if halves is None or ignores_dates or ignores_times:
            self._doubts.pop(doubt, None)
            self._note_cut(span)
            return
        lacks_times = any(_second(study.time) is None for study in answer.studies)
        if span.first == span.last and lacks_times and span.first not in self.without_time:
            self.without_time.append(span.first)
        self._open += [replace(half, doubt=doubt) for half in reversed(halves)]

    def _note_failure(self, span: Span) -> None:
        """Ask once more at the end of the round, for the PACS may have been in trouble; then note.

        So a trouble that passes leaves no study out.
        """
        if span in self.asked_again:
            self.asked_again.remove(span)
            self._note_cut(span)
        else:
            self.asked_again.append(span)
            self._open.insert(0, span)
            self._bad_seconds += span.halves() is None

    def _settle_failure(self, span: Span) -> None:
        """Count a span no more as bad that is answered or divided when it is asked again."""
        if span in self.asked_again:
            self.asked_again.remove(span)
            self._bad_seconds -= span.halves() is None

    def _note_cut(self, span: Span) -> None:
        """Name a span that cannot be divided; those that follow on one another are one."""
        self.cut = merge([*self.cut, replace(span, doubt=0)])

    def _settle_doubt(self, span: Span, count: int) -> None:
        """Count the answer to a half; where both hold more than the whole did, that was cut."""
        doubt = self._doubts.get(span.doubt)
        if doubt is None:
            return
        doubt[1] += count
        doubt[2] -= 1
        if doubt[2]:
            return
        del self._doubts[span.doubt]
        if doubt[1] <= doubt[0]:
            return
        self._limit, self._was_cut = doubt[0], True

    def _choose(self, span: Span, answer: Answer) -> list[ListedStudy]:
        asked = set(self.query.modalities)
        chosen = []
        for study in answer.studies:
            if study.study_instance_uid in self._seen or span.is_outside_dates(study):
                continue
            named = {name.strip().upper() for name in study.modalities if name.strip()}
            if asked and named and not asked & named:
                continue  # a PACS may ignore the key
            self._seen.add(study.study_instance_uid)
            chosen.append(study)
        return chosen


def walk_spans(walk: SpanWalk, ask: Callable[[Span], Answer]) -> Iterator[list[ListedStudy]]:
    """Ask until all is asked.

    A PACS may refuse one question for its many answers, or for one record that it cannot read. One
    that refuses many in a row is in trouble. So that nothing is lost by that, nothing is yielded,
    and no position kept, until it answers again.

    Args:
        walk: what is asked.
        ask: asks one question.

    Yields:
        The studies that one question, or several, found; `walk.to_position()` is the place after
        them.

    Raises:
        PacsAway: it refused more questions in a row than `FAILURES_IN_A_ROW`.
    """
    refused = 0
    while span := walk.next_span():
        answer = ask(span)
        if not answer.refusal:
            refused = 0
        elif span not in walk.asked_again:  # those follow on one another
            refused += 1
        if refused > FAILURES_IN_A_ROW:
            raise PacsAway(answer.refusal)
        studies = walk.take(span, answer)
        if not refused:
            yield studies
    if refused:
        yield []


def merge(spans: Sequence[Span]) -> list[Span]:
    """Spans that follow on one another as one, in the order of time."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.modality, one.first, one.begins)):
        if merged and merged[-1].modality == span.modality and _follows(merged[-1], span):
            before = merged[-1]
            merged[-1] = replace(
                before, last=max(before.last, span.last), ends=max(before.ends, span.ends)
            )
        else:
            merged.append(span)
    return merged


def _follows(before: Span, after: Span) -> bool:
    if before.is_part_of_day or after.is_part_of_day:
        return (before.first, before.last) == (after.first, after.last) and (
            after.begins <= before.ends + 1
        )
    return after.first <= before.last + dt.timedelta(days=1)


def _named(things: Sequence[object]) -> str:
    text = ", ".join(str(thing) for thing in things[:NAMED_SPANS])
    more = len(things) - NAMED_SPANS
    return f"{text}, and {more} more" if more > 0 else text


def _clock(second: int) -> str:
    return f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"


def _plain_clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def _date(text: str) -> dt.date | None:
    digits = text.strip().replace(".", "")  # 1993.08.22 is an older form (PS3.5 6.2)
    try:
        return dt.date.fromisoformat(digits) if len(digits) == 8 and digits.isdigit() else None
    except ValueError:
        return None


def _second(text: str) -> int | None:
    """The second of a time as HH, HHMM, HHMMSS or HHMMSS.F (PS3.5 6.2); None where it is none."""
    digits = text.strip().partition(".")[0].replace(":", "")
    if len(digits) not in (2, 4, 6) or not digits.isdigit():
        return None
    hours, minutes, seconds = (int(digits[i : i + 2] or 0) for i in (0, 2, 4))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    return min(hours * 3600 + minutes * 60 + seconds, DAY_SECONDS - 1)
