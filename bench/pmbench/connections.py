"""Connections without requests: what they cost, and how fast they end with the proxy."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from . import machine, processes, progress, running, sockets
from .peers import Peer
from .tables import table

# pmctl gives 15 of 64 of its descriptors to client connections: each may need one to its target, twice as
# many are for listeners, and the rest for pipes. The others get no more, so that all hold the same.
SHARE = Fraction(15, 64)
RESERVE = 100
WARM = 64


@dataclass(frozen=True)
class Idle:
    """Many connections, each after one request, and then a stop."""

    proxy: str
    connections: int
    before_kib: int
    with_kib: int
    # From the signal to the last connection's end; None: not within a quarter of a minute.
    closed_after: float | None

    @property
    def each_kib(self) -> float:
        return (self.with_kib - self.before_kib) / self.connections


def how_many(wanted: int) -> int:
    """So many, or what the limit of descriptors allows."""
    return min(wanted, int(machine.descriptors() * SHARE) - RESERVE)


def idle(peers: Sequence[Peer], wanted: int) -> list[Idle]:
    """Memory of idle connections, and how long it takes to close all of them at a stop."""
    count, found = how_many(wanted), []
    with running.upstream():
        for peer in peers:
            streams: list[socket.socket] = []
            try:
                with running.running(peer) as proxy:
                    # Pools and buffers that do not depend on their number come first.
                    sockets.open_idle(proxy.port, WARM, streams)
                    sockets.close_all(streams)
                    time.sleep(0.5)
                    before = processes.memory(proxy.pid)
                    sockets.open_idle(proxy.port, count, streams)
                    time.sleep(1.0)
                    held = processes.memory(proxy.pid)
                    closed = _stop(proxy, peer.stop, streams)
            except (running.NotStarted, OSError) as error:
                progress.say(f"idle: {peer.name} is left out: {error}")
                continue
            finally:
                sockets.close_all(streams)
            found.append(Idle(peer.name, count, before, held, closed))
            progress.say(f"idle: {peer.name} {found[-1].each_kib:.2f} KiB, closed after {closed}")
    return found


def _stop(
    proxy: running.Running, stop: signal.Signals, streams: list[socket.socket]
) -> float | None:
    """Stops it, and tells after how many seconds the last of the connections was closed."""
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_READ)
        begun = time.monotonic()
        os.kill(proxy.pid, stop)
        left = len(streams)
        while left and time.monotonic() - begun < 15:
            for key, _ in selector.select(0.5):
                far = key.fileobj
                assert isinstance(far, socket.socket)
                try:
                    ended = not far.recv(65536)
                except OSError:
                    ended = True
                if ended:
                    selector.unregister(far)
                    left -= 1
        return time.monotonic() - begun if left == 0 else None


def idle_table(found: Sequence[Idle]) -> str:
    """As Markdown."""
    rows = []
    for one in found:
        closed = "not within 15 s" if one.closed_after is None else f"{one.closed_after * 1e3:.0f}"
        rows.append(
            [
                one.proxy,
                f"{one.before_kib / 1024:.1f}",
                f"{one.with_kib / 1024:.1f}",
                f"{one.each_kib:.2f}",
                closed,
            ]
        )
    count = found[0].connections if found else 0
    heads = ["proxy", "MiB before", "MiB with them", "KiB each", "all closed after the signal, ms"]
    return (
        f"### {count:,} idle connections, then a stop\n\n"
        "Each connection has had one request answered.\n\n" + table(heads, rows)
    )
