"""A server with many services and leases and nothing to do: the CPU it uses."""

from __future__ import annotations

import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from . import paths, processes, progress, running
from .peers import Job, Launch
from .pmctl import Pmctl, environment
from .processes import Started
from .tables import table

REGISTRY_PORT = 19791


@dataclass(frozen=True)
class Quiet:
    """What pmctl used while nothing was asked of it."""

    services: int
    leases: int
    seconds: float
    cpu: float
    memory_kib: int

    @property
    def share(self) -> float:
        """Of one CPU."""
        return self.cpu / self.seconds


def measure(pmctl: Pmctl, services: int, seconds: int) -> Quiet:
    """With a registry of its own, a process apart that is not counted."""
    folder = paths.work() / "run" / "registry"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    registry = _registry(pmctl, folder)
    url = f"http://127.0.0.1:{REGISTRY_PORT}/eureka"

    def launch(job: Job) -> Launch:
        more = {"PMCTL_EUREKA_URL": url, "PMCTL_ADVERTISE": "127.0.0.1"}
        return pmctl.launch(job, more)

    try:
        with (
            running.upstream(),
            running.running_as(launch, pmctl.peer(), 1, services) as proxy,
        ):
            leases = _wait_for_leases(url, services)
            # The rows of the first heartbeats are written behind them.
            time.sleep(5)
            before, begun = processes.precise_cpu(proxy.pid), time.monotonic()
            time.sleep(seconds)
            used = processes.precise_cpu(proxy.pid) - before
            passed = time.monotonic() - begun
            quiet = Quiet(services, leases, passed, used, processes.memory(proxy.pid))
    finally:
        registry.end()
    progress.say(f"quiet: {quiet.share:.2%} of one CPU, {quiet.leases} leases")
    return quiet


def _registry(pmctl: Pmctl, folder: Path) -> Started:
    command = [str(pmctl.program), "eureka", "serve", "--listen", f"127.0.0.1:{REGISTRY_PORT}"]
    return Started(command, folder / "log", env=environment(folder))


def _wait_for_leases(url: str, wanted: int) -> int:
    deadline, found = time.monotonic() + 60, 0
    while time.monotonic() < deadline and found < wanted:
        time.sleep(0.5)
        try:
            with urllib.request.urlopen(f"{url}/apps", timeout=5) as answer:
                found = answer.read().count(b"<instance>")
        except (urllib.error.URLError, OSError):
            continue
    return found


def quiet_table(one: Quiet) -> str:
    """As Markdown."""
    row = [
        f"{one.services:,}",
        f"{one.leases:,}",
        f"{one.seconds:.0f}",
        f"{one.cpu:.3f}",
        f"{one.share:.2%}",
        f"{one.memory_kib / 1024:.1f}",
    ]
    heads = ["services", "leases", "seconds", "CPU-seconds", "of one CPU", "MiB"]
    return "### pmctl without traffic\n\n" + table(heads, [row])
