"""A function that is called again and again, whatever it does."""

import threading

from records.errors import PartError
from tests.support.waiting import eventually
from worker.repeater import Repeater


def test_it_is_called_until_the_block_ends(caplog):
    calls = []
    with Repeater("tests", lambda: calls.append(threading.current_thread().name), 0.01, "failed"):
        eventually(lambda: len(calls) > 3)
    count = len(calls)
    assert set(calls) == {"tests"}
    assert not any(thread.name == "tests" for thread in threading.enumerate())
    assert len(calls) == count


def test_a_failure_is_logged_once_and_the_next_call_tries_again(capsys):
    outcomes = iter(["full", "full", "away", None, "away", "away", *[None] * 1000])
    done = []

    def call():
        outcome = next(outcomes)
        done.append(outcome)
        if outcome is not None:
            raise PartError(outcome)

    with Repeater("tests", call, 0.01, "it waits") as repeater:
        eventually(lambda: len(done) > 7)
    assert repeater._error == ""
    logged = capsys.readouterr().err.count("it waits")
    assert logged == 3  # full, away, and away again after it had worked
