"""System calls a request: a count, so it holds on a machine that does other things too."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from . import load, paths, processes, progress, running
from .load import Scenario
from .peers import Peer
from .tables import table

GROUPS = {
    "receive": {"recvfrom", "read", "readv", "recvmsg"},
    "send": {"sendto", "write", "writev", "sendmsg"},
    "wait": {"epoll_wait", "epoll_pwait", "epoll_pwait2"},
    "watch": {"epoll_ctl"},
    "futex": {"futex"},
}


@dataclass(frozen=True)
class Syscalls:
    """One proxy's calls under one scenario."""

    scenario: str
    proxy: str
    requests: int
    calls: dict[str, int]

    @property
    def each(self) -> float:
        """Calls a request."""
        return sum(self.calls.values()) / self.requests


def measure(scenarios: Sequence[Scenario], peers: Sequence[Peer], seconds: int) -> list[Syscalls]:
    """Counts with strace."""
    found = []
    with running.upstream():
        for scenario in scenarios:
            for peer in peers:
                try:
                    found.append(_one(scenario, peer, seconds))
                except (running.NotStarted, subprocess.SubprocessError, OSError) as error:
                    progress.say(f"syscalls: {peer.name} is left out: {error}")
                    continue
                progress.say(f"syscalls: {scenario.name} {peer.name} {found[-1].each:.2f}")
    return found


def _one(scenario: Scenario, peer: Peer, seconds: int) -> Syscalls:
    with running.running(peer) as proxy:
        load.wrk(scenario, proxy.port, 1)
        report = paths.work() / "strace"
        pids = [part for pid in processes.tree(proxy.pid) for part in ("-p", str(pid))]
        command = ["strace", "-f", "-c", "-U", "name,calls", "-o", str(report), *pids]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            loaded = load.wrk(scenario, proxy.port, seconds)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)
    calls = {}
    for line in report.read_text().splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit() and words[0] != "total":
            calls[words[0]] = int(words[1])
    return Syscalls(scenario.name, peer.name, max(loaded.requests, 1), calls)


def syscalls_table(found: Sequence[Syscalls]) -> str:
    """As Markdown."""
    rows = []
    for one in sorted(found, key=lambda one: (one.scenario, one.each)):
        groups = [
            sum(one.calls.get(name, 0) for name in names) / one.requests
            for names in GROUPS.values()
        ]
        cells = [f"{value:.2f}" for value in (one.each, *groups, one.each - sum(groups))]
        rows.append([f"{one.proxy}, {one.scenario}", *cells])
    return "### System calls a request\n\n" + table(["proxy", "all", *GROUPS, "others"], rows)
