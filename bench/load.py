"""The HTTP load: one process drives many connections in an event loop, to take little of what it measures."""

from __future__ import annotations

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

TIMEOUT_SECONDS = 30.0

Address = tuple[str, int]
Requests = Callable[[int], bytes]  # the next request of the client with this number


@dataclass
class Run:
    """What came of one round: latencies in seconds, and how often each status was answered."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    reconnects: int = 0

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """The latency that `percent` of the requests stay within, in milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class _Client:
    """One connection, kept alive as long as the server likes; it sends its next request when the last is answered."""

    def __init__(self, number: int, address: Address) -> None:
        self.number = number
        self.address = address
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(self.address, TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def answer(self) -> tuple[int, bool] | None:
        """(status, whether the connection may be used again) once the answer is complete."""
        piece = self.socket.recv(65_536)
        if not piece:
            raise ConnectionError(f"the server hung up after {self.received[:200]!r}")
        self.received += piece
        head, blank, body = self.received.partition(b"\r\n\r\n")
        if not blank:
            return None
        fields = head.lower()
        start = fields.index(b"content-length:") + len(b"content-length:")
        if len(body) < int(fields[start:].partition(b"\r\n")[0]):
            return None
        self.received = b""
        return int(head[9:12]), b"connection: close" not in fields


def drive(address: Address, requests: Requests, *, clients: int, seconds: float) -> Run:
    """Have `clients` connections ask one request after the other for so long; what was begun is waited for."""
    run = Run()
    with selectors.DefaultSelector() as selector:
        for number in range(clients):
            client = _Client(number, address)
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send(requests(number))
        begin = time.perf_counter()
        end = begin + seconds
        while selector.get_map():
            ready = selector.select(TIMEOUT_SECONDS)
            if not ready:
                raise TimeoutError(f"no answer within {TIMEOUT_SECONDS:.0f} seconds")
            for key, _ in ready:
                client = key.data
                answer = client.answer()
                if answer is None:
                    continue
                now = time.perf_counter()
                status, reusable = answer
                run.latencies.append(now - client.sent_at)
                run.statuses[status] += 1
                if now < end and reusable:
                    client.send(requests(client.number))
                    continue
                selector.unregister(client.socket)
                client.socket.close()
                if now < end:
                    run.reconnects += 1
                    client.connect()
                    selector.register(client.socket, selectors.EVENT_READ, client)
                    client.send(requests(client.number))
        run.seconds = time.perf_counter() - begin
    return run
