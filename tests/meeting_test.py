"""Processes of one run that find each other, agree, and hear who has ended."""

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from trustjax import _meeting
from trustjax._meeting import End

FACTS = {"jax": "0.10.2", "the command": "report"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(_meeting, "SECONDS_TO_COME", 20.0)
    monkeypatch.setattr(_meeting, "SECONDS_TO_REACH", 20.0)


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def outcomes(numbers, count, facts=(), port=None) -> list[Any]:
    """What becomes of processes that meet: a meeting, or what was said."""
    port = port or free_port()
    own = dict(facts)

    def outcome(number):
        try:
            return _meeting.meet(
                f"localhost:{port}", count, number, own.get(number, FACTS)
            )
        except (OSError, ValueError) as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(outcome, numbers))


@contextlib.contextmanager
def met(count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(one) for one in outcomes(range(count), count)]


def test_who_closes_its_connection_has_ended():
    with met(3) as (first, second, third):
        assert first.news(0.01) is None
        assert third.news(0.01) is None
        second.__exit__()
        end = first.news(5)
        assert end == End(1, "has died, or its machine has")
        first.tell(end)
        assert third.news(5) == end
        assert first.news(0.01) is None


def test_who_has_done_its_work_is_no_news():
    with met(2) as (first, second):
        second.tell(End(1, ""))
        second.__exit__()
        assert first.news(0.2) is None
        assert first.news(0.2) is None


def test_what_is_said_comes_whole():
    with met(2) as (first, second):
        ends = [End(1, "has ended with exit code 2 " + "x" * 70_000)]
        second.tell(ends[0])
        heard = None
        while heard is None:
            heard = first.news(1)
        assert heard == ends[0]


def test_silence_is_an_end(monkeypatch):
    with met(2) as (first, _):
        monkeypatch.setattr(_meeting, "_SECONDS_OF_SILENCE", 0.0)
        assert first.news(0.01) == End(1, "has said nothing for 0 s")


def test_signs_of_life_break_the_silence(monkeypatch):
    monkeypatch.setattr(_meeting, "_SECONDS_BETWEEN_SIGNS", 0.0)
    with met(2) as (first, second):
        before = dict(first._heard)
        second.news(0.01)
        assert first.news(1) is None
        assert first._heard[1] > before[1]


def test_who_differs_is_named_to_all():
    facts = {1: FACTS | {"jax": "0.12.0"}}
    said = outcomes(range(3), 3, facts)
    expected = (
        "the processes of a run must agree, and differ: jax is 0.10.2 in process 0, 2 "
        "and 0.12.0 in process 1"
    )
    assert said == [expected] * 3


def test_the_number_of_processes_is_agreed_on_too():
    port = free_port()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(outcomes, [0], 2, (), port)
        said = outcomes([1], 3, port=port)
        assert "the number of processes is 2 in process 0 and 3 in process 1" in said[0]
        assert first.result() == said


def test_a_number_that_is_there_twice_is_refused():
    said = outcomes([0, 1, 1], 3)
    assert said == ["there are two processes with number 1"] * 3


def test_who_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(_meeting, "SECONDS_TO_COME", 3.0)
    said = outcomes([0, 1], 4)
    assert said == ["process 2, 3 of 4 has not come within 3 s"] * 2


def test_a_first_process_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr(_meeting, "SECONDS_TO_REACH", 0.5)
    (said,) = outcomes([1], 2)
    assert said.startswith("cannot reach process 0 at localhost:")


def test_strangers_are_not_taken_for_processes():
    port = free_port()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(outcomes, [0], 2, (), port)
        for words in (b"GET / HTTP/1.1\r\n\r\n\n", b"[]\n", b"{\n"):
            while True:
                with contextlib.suppress(OSError):
                    stranger = socket.create_connection(("localhost", port), 5)
                    break
                time.sleep(0.05)
            with stranger:
                stranger.sendall(words)
                with contextlib.suppress(ConnectionResetError):
                    assert stranger.recv(1) == b""
        (second,) = outcomes([1], 2, port=port)
        with first.result()[0], second:
            pass


def test_a_server_of_something_else_is_named():
    with socket.create_server(("localhost", 0)) as other:
        port = other.getsockname()[1]

        def answer():
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\n")

        thread = threading.Thread(target=answer)
        thread.start()
        (said,) = outcomes([1], 2, port=port)
        thread.join()
    assert said.startswith(f"what answers at localhost:{port} does not wait")


def test_the_port_is_free_again_while_they_are_connected():
    port = free_port()
    first, second = outcomes(range(2), 2, port=port)
    with first, second, _meeting._listening(port):
        pass


@pytest.mark.parametrize("place", ["localhost", ":1", "localhost:", "a:b"])
def test_a_place_that_is_none(place):
    with pytest.raises(ValueError, match="the coordinator must be HOST:PORT, got"):
        _meeting.meet(place, 2, 1, FACTS)
