"""How long a sender is held back."""

import threading

from intake.dicom.store_handler import RateLimiter


def test_the_objects_of_a_minute_are_free_and_then_each_waits_longer():
    limiter = RateLimiter(6, threading.Event())
    assert [limiter.delay_seconds("CR1", 100.0) for _ in range(6)] == [0.0] * 6
    assert [limiter.delay_seconds("CR1", 100.0) for _ in range(2)] == [10.0, 20.0]
    assert limiter.delay_seconds("CR2", 100.0) == 0.0  # each device is counted by itself
    assert limiter.delay_seconds("CR1", 1000.0) == 0.0  # and is free again later


def test_no_limit_by_default():
    limiter = RateLimiter(0, threading.Event())
    assert [limiter.delay_seconds("CR1", 0.0) for _ in range(1000)] == [0.0] * 1000


def test_the_wait_ends_with_the_listener():
    ended = threading.Event()
    ended.set()
    limiter = RateLimiter(1, ended)
    assert limiter.wait("CR1") == 0.0
    assert limiter.wait("CR1") == 30.0  # at most; and this test is over at once
