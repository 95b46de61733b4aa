import threading

from intake.dicom.store_handler import Brake


def test_a_minutes_worth_is_free_and_then_one_comes_each_gap():
    brake = Brake(6, threading.Event())
    assert [brake.seconds("CR1", 100.0) for _ in range(6)] == [0.0] * 6
    assert [brake.seconds("CR1", 100.0) for _ in range(2)] == [10.0, 20.0]
    assert brake.seconds("CR2", 100.0) == 0.0  # another device's worth is its own
    assert brake.seconds("CR1", 1000.0) == 0.0  # and it comes back with time


def test_no_limit_by_default():
    brake = Brake(0, threading.Event())
    assert [brake.seconds("CR1", 0.0) for _ in range(1000)] == [0.0] * 1000


def test_whoever_ends_the_listener_does_not_wait_for_it():
    ended = threading.Event()
    ended.set()
    brake = Brake(1, ended)
    assert brake.wait("CR1") == 0.0
    assert brake.wait("CR1") == 30.0  # at most; and this test is over at once
