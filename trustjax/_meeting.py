"""How the processes of one run find each other, and hear when one of them has ended.

Beside JAX and before it. Its coordination service aborts every process, with pages of
text, where one is missing or has gone; and a process that waits in a collective hears
nothing. So process 0 first listens where that service will listen. The others connect,
and say who they are and what they are about to do. When all are there and agree, the
place is given up to JAX, and the connections stay: the one that closes is that of a
process that has ended, however that came.
"""

import contextlib
import json
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SECONDS_TO_REACH = 30.0
"""So long a process tries to reach the first one."""

SECONDS_TO_COME = 300.0
"""So long the first one waits for the others, which may be started by hand."""

_SECONDS_BETWEEN_SIGNS = 5.0
_SECONDS_OF_SILENCE = 30.0
_MOST_BYTES = 2**20


class End(NamedTuple):
    """How a process has ended.

    Attributes:
      process: its number.
      how: in words; empty where it has done what it was to do.
    """

    process: int
    how: str


class Meeting:
    """The connections of a process: of the first one to all, of others to the first.

    Args:
      connections: process number -> what is connected to it.
    """

    def __init__(self, connections: Mapping[int, socket.socket]):
        self._connections = dict(connections)
        self._selector = selectors.DefaultSelector()
        now = time.monotonic()
        self._heard = dict.fromkeys(connections, now)
        self._signed = now
        self._unread = dict.fromkeys(connections, b"")
        for process, connection in connections.items():
            connection.settimeout(_SECONDS_BETWEEN_SIGNS)
            self._selector.register(connection, selectors.EVENT_READ, process)

    def __enter__(self) -> "Meeting":
        return self

    def __exit__(self, *_: object) -> None:
        for process in list(self._connections):
            self._close(process)
        self._selector.close()

    def news(self, seconds: float) -> End | None:
        """The first process that has ended before its work was done, if any has.

        Args:
          seconds: to wait for such news, at most.
        """
        deadline = time.monotonic() + seconds
        while True:
            self._give_sign()
            for key, _ in self._selector.select(deadline - time.monotonic()):
                if end := self._read(key.data):
                    return end
            now = time.monotonic()
            for process in self._connections:
                if now - self._heard[process] > _SECONDS_OF_SILENCE:
                    self._close(process)
                    silence = f"has said nothing for {_SECONDS_OF_SILENCE:.0f} s"
                    return End(process, silence)
            if now >= deadline:
                return None

    def tell(self, end: End) -> None:
        """Tells the others how a process has ended."""
        for process in list(self._connections):
            if process != end.process:
                self._send(process, {"process": end.process, "how": end.how})

    def _give_sign(self) -> None:
        if time.monotonic() - self._signed > _SECONDS_BETWEEN_SIGNS:
            self._signed = time.monotonic()
            for process in self._connections:
                self._send(process, {})

    def _send(self, process: int, said: Mapping[str, Any]) -> None:
        # Who cannot be told has ended; `news` says so.
        with contextlib.suppress(OSError):
            self._connections[process].sendall(_line(said))

    def _read(self, process: int) -> End | None:
        try:
            received = self._connections[process].recv(_MOST_BYTES)
        except OSError:
            received = b""
        if not received:
            self._close(process)
            return End(process, "has died, or its machine has")
        self._heard[process] = time.monotonic()
        *lines, self._unread[process] = (self._unread[process] + received).split(b"\n")
        for said in filter(None, map(json.loads, lines)):
            end = End(said["process"], said["how"])
            if end.process == process:
                self._close(process)
            if end.how:
                return end
        return None

    def _close(self, process: int) -> None:
        connection = self._connections.pop(process)
        self._selector.unregister(connection)
        connection.close()


def meet(
    coordinator: str, count: int, number: int, facts: Mapping[str, str]
) -> Meeting:
    """Meets the other processes of a run, once all of them are there.

    Args:
      coordinator: `host:port` of process 0.
      count: of all processes.
      number: of this one, in [0, count).
      facts: what all of them must agree on, by name.

    Raises:
      ValueError: if they differ, saying who in what; if a number is there twice.
      OSError: if process 0 cannot be reached for half a minute, or another does not
        come.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"the coordinator must be HOST:PORT, got {coordinator!r}")
    # An IPv6 address stands in brackets, which are not a part of it.
    address = (host.strip("[]"), int(port))
    if number == 0:
        return _received(address[1], count, facts)
    return _joined(address, count, number, facts)


def require_agreement(everywhere: Sequence[Mapping[str, str]]) -> None:
    """Raises a ValueError that says which processes differ in what, if some do.

    Args:
      everywhere: what each process knows, by name.
    """
    if differing := differences(everywhere):
        raise ValueError(
            f"the processes of a run must agree, and differ: {'; '.join(differing)}"
        )


def differences(everywhere: Sequence[Mapping[str, str]]) -> list[str]:
    """Who differs in what, a clause for each fact.

    >>> differences([{"jax": "0.10.2"}, {"jax": "0.12.0"}, {"jax": "0.10.2"}])
    ['jax is 0.10.2 in process 0, 2 and 0.12.0 in process 1']
    """
    clauses = []
    for name in dict.fromkeys(name for facts in everywhere for name in facts):
        holders: dict[str, list[str]] = {}
        for process, facts in enumerate(everywhere):
            holders.setdefault(facts.get(name, "missing"), []).append(str(process))
        if len(holders) > 1:
            said = (
                f"{value} in process {', '.join(processes)}"
                for value, processes in holders.items()
            )
            clauses.append(f"{name} is {' and '.join(said)}")
    return clauses


def _received(port: int, count: int, facts: Mapping[str, str]) -> Meeting:
    """As process 0: waits for all others."""
    there: dict[int, socket.socket] = {}
    known = {0: {**facts, "the number of processes": str(count)}}
    deadline = time.monotonic() + SECONDS_TO_COME
    try:
        with _listening(port) as listener:
            while len(there) < count - 1:
                listener.settimeout(max(0.01, deadline - time.monotonic()))
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    missing = sorted(set(range(1, count)).difference(there))
                    raise TimeoutError(
                        f"process {', '.join(map(str, missing))} of {count} has not "
                        f"come within {SECONDS_TO_COME:.0f} s"
                    ) from None
                said = _first_line(connection)
                # Whoever else knocks at that port is no process of a run.
                if not isinstance(said.get("process"), int):
                    connection.close()
                    continue
                number = said["process"]
                if number in known:
                    there[-1] = connection
                    raise ValueError(f"there are two processes with number {number}")
                there[number], known[number] = connection, said["facts"]
        require_agreement([known[process] for process in sorted(known)])
    except BaseException as error:
        refused = str(error) if isinstance(error, Exception) else "process 0 has ended"
        _answer(there.values(), {"refused": refused})
        raise
    _answer(there.values(), {"refused": ""}, keep=True)
    return Meeting(there)


def _listening(port: int) -> socket.socket:
    """Where JAX will listen, on all addresses of this machine."""
    # So that JAX can listen there while these connections are open.
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise OSError(f"process 0 cannot listen at port {port}: {error}") from error


def _joined(
    address: tuple[str, int], count: int, number: int, facts: Mapping[str, str]
) -> Meeting:
    """As another process: finds process 0, and waits for its word."""
    where = f"{address[0]}:{address[1]}"
    deadline = time.monotonic() + SECONDS_TO_REACH
    while True:
        left = deadline - time.monotonic()
        try:
            connection = socket.create_connection(address, max(0.01, left))
            break
        except OSError as error:
            if left < 1:
                raise OSError(
                    f"cannot reach process 0 at {where} within "
                    f"{SECONDS_TO_REACH:.0f} s: {error}"
                ) from error
            time.sleep(0.5)
    facts = {**facts, "the number of processes": str(count)}
    connection.sendall(_line({"process": number, "facts": facts}))
    refused = _first_line(connection, SECONDS_TO_COME + SECONDS_TO_REACH).get("refused")
    if refused is None:
        connection.close()
        raise OSError(
            f"what answers at {where} does not wait for processes of a run: it has "
            "ended, or something else is there"
        )
    if refused:
        connection.close()
        raise ValueError(refused)
    return Meeting({0: connection})


def _first_line(connection: socket.socket, seconds: float = 5.0) -> dict[str, Any]:
    """The first thing that is said, one line of JSON; nothing if it is not that."""
    deadline, received = time.monotonic() + seconds, b""
    try:
        # Byte by byte: what follows the line is for whoever reads next.
        while not received.endswith(b"\n") and len(received) < _MOST_BYTES:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            if not (byte := connection.recv(1)):
                return {}
            received += byte
        said = json.loads(received)
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _answer(connections: Any, said: Mapping[str, Any], *, keep: bool = False) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(_line(said))
        if not keep:
            connection.close()


def _line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"
