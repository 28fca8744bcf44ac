"""Many services in one process tree."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from . import processes, progress, running, sockets
from .peers import Peer
from .tables import median, spread, table


@dataclass(frozen=True)
class Listeners:
    """One start with many listeners."""

    proxy: str
    count: int
    seconds: float
    memory_kib: int
    # Of it, what is no file's: heaps and stacks.
    private_kib: int


def measure(peers: Sequence[Peer], count: int, rounds: int) -> list[Listeners]:
    """Starts each proxy so many times; one listener of each is asked for an answer."""
    found = []
    with running.upstream():
        for number in range(rounds):
            for peer in peers if number % 2 == 0 else reversed(peers):
                try:
                    with running.running(peer, count=count) as proxy:
                        time.sleep(0.5)
                        one = Listeners(
                            peer.name,
                            count,
                            proxy.start_seconds,
                            processes.memory(proxy.pid),
                            processes.private_memory(proxy.pid),
                        )
                        with sockets.connect(proxy.port + count // 2) as stream:
                            sockets.exchange(stream, sockets.request())
                except (running.NotStarted, OSError) as error:
                    progress.say(f"listeners: {peer.name} is left out: {error}")
                    continue
                found.append(one)
                progress.say(f"listeners: {one.proxy} {one.seconds:.3f} s, {one.memory_kib} KiB")
    return found


def listeners_table(found: Sequence[Listeners]) -> str:
    """As Markdown."""
    rows = []
    for name in dict.fromkeys(one.proxy for one in found):
        mine = [one for one in found if one.proxy == name]
        rows.append(
            [
                name,
                spread([one.seconds for one in mine], 3),
                f"{median(one.memory_kib for one in mine) / 1024:.1f}",
                f"{median(one.private_kib for one in mine) / 1024:.1f}",
            ]
        )
    heads = ["proxy", "all answer after, s", "MiB", "MiB without files"]
    count = found[0].count if found else 0
    return f"### {count:,} listeners\n\n" + table(heads, rows)
