"""A graceful stop in the middle of traffic: who is answered, and when the process is gone."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from . import progress, running, sockets
from .peers import Peer
from .tables import median, table

# How long the upstream takes for each request in flight.
HOLD_MS = 1_500
PATIENCE = 15.0


@dataclass(frozen=True)
class Stop:
    """One stop with idle connections and requests in flight."""

    proxy: str
    idle: int
    active: int
    answered: int
    # Seconds since the signal: the last whole answer, the end of the process; None: never.
    last_answer: float | None
    exited: float | None
    status: int | None

    @property
    def after_last(self) -> float | None:
        """Seconds from the last answer to the end of the process."""
        if self.last_answer is None or self.exited is None:
            return None
        return self.exited - self.last_answer


def measure(peers: Sequence[Peer], idle: int, active: int, rounds: int) -> list[Stop]:
    """Stops each proxy so many times."""
    found = []
    with running.upstream():
        for number in range(rounds):
            for peer in peers if number % 2 == 0 else reversed(peers):
                try:
                    found.append(_one(peer, idle, active))
                except (running.NotStarted, OSError) as error:
                    progress.say(f"stop: {peer.name} is left out: {error}")
                    continue
                one = found[-1]
                progress.say(f"stop: {one.proxy} {one.answered}/{active}, exit {one.after_last}")
    return found


def _one(peer: Peer, idle: int, active: int) -> Stop:
    kept: list[socket.socket] = []
    busy: list[socket.socket] = []
    try:
        with running.running(peer) as proxy:
            sockets.open_idle(proxy.port, idle, kept)
            for _ in range(active):
                stream = sockets.connect(proxy.port)
                stream.sendall(sockets.request(f"/sleep/{HOLD_MS}"))
                busy.append(stream)
            time.sleep(0.5)
            answered, last, exited = _watch(proxy, peer, busy)
            return Stop(peer.name, idle, active, answered, last, exited, proxy.process.status())
    finally:
        sockets.close_all(kept)
        sockets.close_all(busy)


def _watch(
    proxy: running.Running, peer: Peer, busy: Sequence[socket.socket]
) -> tuple[int, float | None, float | None]:
    with selectors.DefaultSelector() as selector:
        for stream in busy:
            selector.register(stream, selectors.EVENT_READ, bytearray())
        answered, last = 0, None
        begun = time.monotonic()
        proxy.process.tell(peer.stop)
        while time.monotonic() - begun < PATIENCE:
            for key, _ in selector.select(0.001):
                far = key.fileobj
                assert isinstance(far, socket.socket)
                received, ended = key.data, False
                try:
                    piece = far.recv(65536)
                except OSError:
                    piece = b""
                received += piece
                if _is_whole(received):
                    answered += received.startswith(b"HTTP/1.1 200")
                    last, ended = time.monotonic() - begun, True
                if ended or not piece:
                    selector.unregister(far)
            if proxy.process.status() is not None:
                return answered, last, time.monotonic() - begun
    return answered, last, None


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    return bool(end) and (len(body) >= 1_024 or not head.startswith(b"HTTP/1.1 200"))


def stop_table(found: Sequence[Stop]) -> str:
    """As Markdown."""
    rows = []
    for name in dict.fromkeys(one.proxy for one in found):
        mine = [one for one in found if one.proxy == name]
        after = [one.after_last for one in mine if one.after_last is not None]
        statuses = sorted({str(one.status) for one in mine})
        rows.append(
            [
                name,
                f"{min(one.answered for one in mine)} of {mine[0].active}",
                f"{median(after) * 1e3:.0f}" if after else f"not within {PATIENCE:.0f} s",
                ", ".join(statuses),
            ]
        )
    heads = ["proxy", "answered, worst round", "exit after the last answer, ms", "exit status"]
    idle, active = (found[0].idle, found[0].active) if found else (0, 0)
    return f"### A stop with {idle:,} idle and {active} active connections\n\n" + table(heads, rows)
