"""A proxy that runs, and the upstream behind it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from . import paths, sockets
from .peers import Job, Launch, Peer
from .processes import Started

UPSTREAM_PORT = 19800
PORT = 20000
PATIENCE = 60.0


class NotStarted(Exception):
    """A proxy that does not listen where it should."""


class Running:
    """A proxy with all its ports open."""

    def __init__(self, process: Started, job: Job, start_seconds: float) -> None:
        self.process = process
        self.job = job
        # From the start of the process to the last port's answer.
        self.start_seconds = start_seconds

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return self.job.port


def _start(launch: Launch, job: Job, cpus: Sequence[int] | None) -> Running:
    # Nobody's configuration but the one that was made for this run.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PMCTL_")}
    env["PATH"] = paths.search_path()
    begun = time.monotonic()
    process = Started(launch.command, job.folder / "log", cpus, {**env, **launch.env})
    deadline = begun + PATIENCE
    # From the last to the first: most open theirs in order.
    for port in reversed(job.ports):
        while not sockets.is_open(port):
            if process.status() is not None or time.monotonic() > deadline:
                process.end()
                raise NotStarted(process.last_words() or "it said nothing")
            time.sleep(0.001)
    return Running(process, job, time.monotonic() - begun)


@contextmanager
def running(
    peer: Peer, threads: int = 1, count: int = 1, cpus: Sequence[int] | None = None
) -> Iterator[Running]:
    """Runs a proxy before the upstream."""
    with running_as(peer.launch, peer, threads, count, cpus) as proxy:
        yield proxy


@contextmanager
def running_as(
    launch: Callable[[Job], Launch],
    peer: Peer,
    threads: int,
    count: int,
    cpus: Sequence[int] | None = None,
) -> Iterator[Running]:
    """The same with another way to start it."""
    folder = paths.work() / "run" / peer.name.replace(" ", "-").replace(",", "")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job = Job(PORT, count, UPSTREAM_PORT, threads, folder)
    for port in (job.ports[0], job.ports[-1]):
        if not sockets.wait_free(port):
            raise SystemExit(f"port {port} is taken: end who has it and run this again")
    proxy = _start(launch(job), job, cpus)
    try:
        yield proxy
    finally:
        proxy.process.end()


@contextmanager
def upstream(cpus: Sequence[int] | None = None) -> Iterator[Started]:
    """Runs the target of all proxies."""
    if not sockets.wait_free(UPSTREAM_PORT):
        raise SystemExit(f"port {UPSTREAM_PORT} is taken: end who has it and run this again")
    command = [paths.tool("upstream"), str(UPSTREAM_PORT), "1"]
    process = Started(command, paths.work() / "upstream.log", cpus)
    try:
        if not sockets.wait_open(UPSTREAM_PORT, 5):
            raise SystemExit(f"the upstream did not start: {process.last_words()}")
        yield process
    finally:
        process.end()
