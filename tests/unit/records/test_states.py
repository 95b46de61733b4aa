"""The states as data: nothing ends by accident, nothing is left that cannot end."""

from records.states import (
    HOLD_SENTENCES,
    OPEN,
    TRANSITIONS,
    HoldReason,
    Priority,
    RequestState,
    Stage,
)


def test_every_state_has_its_transitions():
    assert set(TRANSITIONS) == set(RequestState)


def test_a_draft_that_is_there_is_withdrawn_by_a_person_alone():
    assert TRANSITIONS[RequestState.DRAFTED] == {RequestState.CANCELLED}


def test_every_open_state_can_reach_every_end():
    ends = set(RequestState) - set(OPEN)
    for state in OPEN:
        assert ends <= TRANSITIONS[state]


def test_only_a_retry_leads_back_from_an_end():
    for end in (RequestState.SKIPPED, RequestState.FAILED, RequestState.CANCELLED):
        assert TRANSITIONS[end] <= {RequestState.WAITING, RequestState.CANCELLED}


def test_stages_claim_open_states():
    assert [stage.claims for stage in Stage] == list(OPEN)


def test_stat_is_claimed_before_backlog():
    assert sorted(Priority) == [
        Priority.STAT,
        Priority.URGENT,
        Priority.ROUTINE,
        Priority.BACKLOG,
    ]


def test_every_hold_says_what_proceeding_does():
    for reason in HoldReason:
        assert "roceeding" in HOLD_SENTENCES[reason]
