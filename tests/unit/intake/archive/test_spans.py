"""Questions by dates: every study is found although the PACS cuts, and what may lack is named."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from intake.archive.errors import PacsAway
from intake.archive.listed import ListedStudy
from intake.archive.spans import FAILURES_IN_A_ROW, Answer, Span, SpanWalk, merge, walk_spans
from records.campaigns.pacs_query import PacsQuery
from records.errors import NotAllowed

FIRST = dt.date(2024, 1, 1)


def make_study(number: int, day: dt.date, time: str = "", *modalities: str) -> ListedStudy:
    return ListedStudy(f"1.2.{number}", date=f"{day:%Y%m%d}", time=time, modalities=modalities)


def clock(second: int) -> str:
    return f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"


@dataclass
class Archive:
    """A PACS as a list, with its faults.

    Attributes:
        studies: what it has.
        cut_at: the longest answer; 0 is any.
        says_so: whether it says that it cut.
        knows_times: whether it looks at the time.
        knows_dates: whether it looks at the date.
    """

    studies: list[ListedStudy]
    cut_at: int = 0
    says_so: bool = False
    knows_times: bool = True
    knows_dates: bool = True
    asked: list[Span] = field(default_factory=list)

    def find(self, span: Span) -> Answer:
        self.asked.append(span)
        found = [
            study
            for study in self.studies
            if not (self.knows_dates and span.is_outside_dates(study))
            and not (
                self.knows_times
                and span.is_part_of_day
                and (not study.time or span.is_outside_times(study))
            )
            and (not span.modality or not study.modalities or span.modality in study.modalities)
        ]
        if self.cut_at and len(found) > self.cut_at:
            return Answer(found[: self.cut_at], is_cut=self.says_so)
        return Answer(found)


def walk_all(archive: Archive, query: PacsQuery, cut_at: int = 0) -> tuple[set[str], SpanWalk]:
    """Walk to the end; after each answer the walk is made anew from its position."""
    found: set[str] = set()
    walk = SpanWalk(query, cut_at)
    while span := walk.next_span():
        found |= {study.study_instance_uid for study in walk.take(span, archive.find(span))}
        walk = SpanWalk(query, cut_at, json.loads(json.dumps(walk.to_position())))
        assert len(archive.asked) < 20_000
    return found, walk


def uids(studies) -> set[str]:
    return {study.study_instance_uid for study in studies}


def over(days: int, *modalities: str) -> PacsQuery:
    return PacsQuery(FIRST, FIRST + dt.timedelta(days=days - 1), modalities)


def crowded(seed: int, days: int, studies: int) -> list[ListedStudy]:
    """Studies at random times, on some days many more than on others."""
    generator = random.Random(seed)
    busy = [generator.randrange(days) for _ in range(3)]
    made = []
    for number in range(studies):
        day = generator.choice(busy) if generator.random() < 0.5 else generator.randrange(days)
        time = clock(generator.randrange(86_400))
        made.append(make_study(number, FIRST + dt.timedelta(days=day), time))
    return made


@pytest.mark.parametrize("cut_at", [100, 137, 500])
def test_every_study_is_found_although_the_pacs_cuts_without_a_word(cut_at):
    archive = Archive(crowded(1, 200, 6000), cut_at)
    found, walk = walk_all(archive, over(200))
    assert found == uids(archive.studies)
    assert walk.note() == ""


@given(st.integers(0, 10_000), st.integers(20, 400), st.booleans())
@hypothesis_settings(max_examples=40, deadline=None)
def test_what_is_not_found_is_named(seed, cut_at, says_so):
    archive = Archive(crowded(seed, 60, 1500), cut_at, says_so)
    found, walk = walk_all(archive, over(60), cut_at if seed % 2 else 0)
    for study in archive.studies:
        assert study.study_instance_uid in found or any(span.has(study) for span in walk.cut)


def test_an_archive_that_does_not_cut_is_asked_few_questions():
    archive = Archive(crowded(2, 3650, 5000))
    found, walk = walk_all(archive, over(3650))
    assert (found, walk.note()) == (uids(archive.studies), "")
    assert len(archive.asked) < 300


def test_a_known_limit_is_divided_without_a_doubt():
    archive = Archive(crowded(3, 20, 800), cut_at=123)
    found, _ = walk_all(archive, over(20), cut_at=123)
    assert found == uids(archive.studies)


def test_once_the_length_is_known_a_shorter_round_answer_is_not_asked_again():
    studies = [make_study(n, FIRST, clock(n * 200)) for n in range(400)]
    later = [FIRST + dt.timedelta(days=8 * week) for week in range(1, 7)]
    studies += [
        make_study(1000 * week + n, day, clock(n * 800))
        for week, day in enumerate(later, 1)
        for n in range(100)
    ]
    archive = Archive(studies, cut_at=137)
    found, walk = walk_all(archive, over(60))
    assert (found, walk.note()) == (uids(studies), "")
    for day in later:
        assert sum(span.first <= day <= span.last for span in archive.asked) == 1


def test_a_round_number_by_chance_is_asked_again_and_believed():
    studies = [make_study(n, FIRST, clock(n * 800)) for n in range(100)]
    archive = Archive(studies)
    found, walk = walk_all(archive, over(1))
    assert (found, walk.note()) == (uids(studies), "")
    assert len(archive.asked) < 8


def test_the_first_answer_of_the_cut_length_is_asked_again_once_the_length_is_known():
    # 137 is no round number, so the first answer of this length is believed.
    studies = [
        make_study(1000 * day + n, FIRST + dt.timedelta(days=8 * day), clock(n * 400))
        for day in range(3)
        for n in range(200)
    ]
    archive = Archive(studies, cut_at=137)
    found, walk = walk_all(archive, over(24))
    assert (found, walk.note()) == (uids(studies), "")


def test_studies_of_one_second_that_are_cut_are_named_with_day_and_time():
    studies = [make_study(n, FIRST, "120000") for n in range(300)]
    _, walk = walk_all(Archive(studies, cut_at=100), over(3))
    assert "2024-01-01 12:00:00 to 12:00:00" in walk.note()


def test_a_pacs_that_does_not_look_at_times_is_not_asked_for_seconds():
    studies = [make_study(n, FIRST, clock(n * 200)) for n in range(300)]
    archive = Archive(studies, cut_at=100, says_so=True, knows_times=False)
    _, walk = walk_all(archive, over(3))
    assert walk.cut
    assert walk.cut[0].first == FIRST
    assert len(archive.asked) < 20


def test_a_pacs_that_does_not_look_at_dates_is_named_and_its_other_studies_are_dropped():
    studies = [make_study(n, FIRST + dt.timedelta(days=n)) for n in range(300)]
    archive = Archive(studies, cut_at=100, says_so=True, knows_dates=False)
    found, walk = walk_all(archive, over(30))
    assert found <= uids(studies[:30])
    assert "2024-01-01 to 2024-01-30" in walk.note()


def test_studies_without_a_time_on_a_day_that_was_cut_are_named():
    studies = [
        *(make_study(n, FIRST) for n in range(10)),
        *(make_study(100 + n, FIRST, clock(n * 200)) for n in range(300)),
    ]
    found, walk = walk_all(Archive(studies, cut_at=100, says_so=True), over(2))
    assert uids(studies[10:]) <= found
    assert "2024-01-01" in walk.note()
    assert "without a time" in walk.note()


def test_each_modality_is_asked_for_and_a_study_with_both_counts_once():
    studies = [
        make_study(1, FIRST, "", "CR"),
        make_study(2, FIRST, "", "DX", "PR"),
        make_study(3, FIRST, "", "CR", "DX"),
        make_study(4, FIRST, "", "CT"),
        make_study(5, FIRST),  # the PACS does not say
    ]
    archive = Archive(studies)
    walk = SpanWalk(over(1, "CR", "DX"))
    counted: Counter[str] = Counter()
    while span := walk.next_span():
        counted.update(uids(walk.take(span, archive.find(span))))
    assert counted == Counter(["1.2.1", "1.2.2", "1.2.3", "1.2.5"])


def test_a_pacs_that_ignores_the_modality_gives_nothing_that_was_not_asked_for():
    studies = [make_study(1, FIRST, "", "CT"), make_study(2, FIRST, "", "CR")]
    walk = SpanWalk(over(1, "CR"))
    span = walk.next_span()
    assert uids(walk.take(span, Answer(studies))) == {"1.2.2"}


def test_dates_and_times_are_written_as_the_standard_has_them():
    span = Span(dt.date(2024, 1, 30), dt.date(2024, 2, 2))
    assert (span.dates, span.times) == ("20240130-20240202", "")
    half = Span(FIRST, FIRST).halves()[1]
    assert (half.dates, half.times) == ("20240101", "120000-235959.999999")


def test_spans_that_follow_on_one_another_are_named_as_one():
    day = dt.timedelta(days=1)
    spans = [
        Span(FIRST + day, FIRST + day),
        Span(FIRST, FIRST),
        Span(FIRST + 9 * day, FIRST + 9 * day),
    ]
    assert [str(span) for span in merge(spans)] == ["2024-01-01 to 2024-01-02", "2024-01-10"]


def test_a_query_is_kept_and_read_again():
    query = PacsQuery.of("2019-01-31", "2019-03-01", ["cr", " DX ", "cr"])
    assert query.modalities == ("CR", "DX")
    assert PacsQuery.from_source(json.loads(json.dumps(query.to_source()))) == query


@pytest.mark.parametrize(
    ("first", "last", "modalities", "sentence"),
    [
        ("31.1.2019", "2019-03-01", [], "first study date"),
        ("2019-01-31", "", [], "last study date"),
        ("2019-03-01", "2019-01-31", [], "before"),
        ("2019-01-31", "2019-03-01", ["C R"], "no modality"),
    ],
)
def test_a_wrong_query_is_refused_with_what_is_wrong(first, last, modalities, sentence):
    with pytest.raises(NotAllowed, match=sentence):
        PacsQuery.of(first, last, modalities)


def test_a_source_without_dates_is_refused():
    with pytest.raises(NotAllowed, match="no dates"):
        PacsQuery.from_source({"modalities": ["CR"]})


@pytest.mark.parametrize(("seed", "cut_at"), [(3378, 387), (8402, 260)])
def test_a_cut_at_an_unknown_length_is_found_although_it_comes_once(seed, cut_at):
    archive = Archive(crowded(seed, 60, 1500), cut_at)
    found, walk = walk_all(archive, over(60))
    assert (found, walk.note()) == (uids(archive.studies), "")


def test_while_a_pacs_refuses_every_question_no_position_is_kept_and_nothing_is_lost():
    archive = Archive(crowded(4, 60, 900))
    walk = SpanWalk(over(60))
    position, found, asked = None, set(), []

    def ask(span: Span) -> Answer:
        asked.append(span)
        if 3 < len(asked) <= 60:
            return Answer([], is_cut=True, refusal="0xC001")
        return archive.find(span)

    times_away = 0
    while True:
        try:
            for studies in walk_spans(walk, ask):
                found |= uids(studies)
                position = json.loads(json.dumps(walk.to_position()))
            break
        except PacsAway:
            times_away += 1
            walk = SpanWalk(over(60), position=position)
    assert times_away == 57 // (FAILURES_IN_A_ROW + 1)
    assert (found, walk.note()) == (uids(archive.studies), "")


def test_one_second_that_a_pacs_never_answers_is_named_and_all_else_is_found():
    archive = Archive(crowded(5, 30, 600))
    bad = Span(dt.date(2024, 1, 9), dt.date(2024, 1, 9), 30_000, 30_000)

    def ask(span: Span) -> Answer:
        if span.first <= bad.first <= span.last and span.begins <= bad.begins <= span.ends:
            return Answer([], is_cut=True, refusal="0xC001")
        return archive.find(span)

    walk = SpanWalk(over(30))
    found = set()
    for studies in walk_spans(walk, ask):
        found |= uids(studies)
    assert walk.cut == [bad]
    assert {one.study_instance_uid for one in archive.studies if not bad.has(one)} <= found


def walk_with_errors(
    archive: Archive, bad: list[ListedStudy], refusal: str
) -> tuple[set[str], SpanWalk, int]:
    """Walk an archive that ends each answer with an error that has one of some studies."""
    walk, asked = SpanWalk(over(2)), 0

    def ask(span: Span) -> Answer:
        nonlocal asked
        asked += 1
        answer = archive.find(span)
        if any(study in bad for study in answer.studies):
            return Answer([], is_cut=True, refusal=refusal)
        return answer

    found = set()
    for studies in walk_spans(walk, ask):
        found |= uids(studies)
    return found, walk, asked


def test_studies_that_a_pacs_cannot_list_take_no_other_with_them():
    archive = Archive(crowded(7, 2, 300))
    bad = archive.studies[::6]
    found, walk, _ = walk_with_errors(archive, bad, "0xC001")
    assert len(bad) == 50
    assert found == uids(archive.studies) - uids(bad)
    assert all(any(span.has(study) for span in walk.cut) for study in bad)
    assert all(span.ends - span.begins < 2 for span in walk.cut)


def test_a_pacs_that_can_list_nothing_is_not_asked_for_each_second():
    archive = Archive(crowded(8, 2, 1500))
    found, walk, asked = walk_with_errors(archive, archive.studies, "")
    assert found == set()
    assert all(any(span.has(study) for span in walk.cut) for study in archive.studies)
    assert asked < 2500  # each second would be 30,000 questions
