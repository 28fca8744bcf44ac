"""The machine: its CPUs, its limits, and who used it while something was measured."""

from __future__ import annotations

import os
import platform
import re
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from .processes import TICKS, cpu

# Another's use of one CPU from which on a sample counts as disturbed.
DISTURBED = 0.12
KTHREADD = 2


@dataclass(frozen=True)
class Placement:
    """Which CPUs the proxy and everything else of a run may use; None: all."""

    proxy: list[int] | None
    load: list[int] | None


def placement(threads: int) -> Placement:
    """Apart, where there are CPUs enough for the proxy's threads and one more."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > threads:
        return Placement(cpus[:threads], cpus[threads:])
    return Placement(None, None)


def descriptors() -> int:
    """Raises this process's limit of open files to what is allowed, and returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def described() -> str:
    """The machine in one line."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    count = len(os.sched_getaffinity(0))
    release = re.match(r"[\d.]+\d", platform.release())
    kernel = release.group(0) if release else "unknown"
    return f"{count} CPUs ({model}), Linux {kernel}, at most {descriptors():,} open files"


def _busy() -> float:
    """Seconds that all CPUs together were not idle."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return sum(int(field) for at, field in enumerate(fields) if at not in (3, 4)) / TICKS


@dataclass(frozen=True)
class Usage:
    """Who used the CPUs between two moments."""

    # Seconds of this run, load and upstream included, and of kernel threads.
    own: float
    # CPUs that anybody else used on average.
    foreign: float


class Watch:
    """Looks at the machine from when it is made until `stop`."""

    def __init__(self) -> None:
        self._before = self._look()

    @staticmethod
    def _look() -> tuple[float, float, float, float]:
        # Threads of the kernel do part of the network's work for large transfers.
        return _busy(), cpu(os.getpid()).total, cpu(KTHREADD).total, time.monotonic()

    def stop(self) -> Usage:
        busy, own, kernel, seconds = (
            after - before for before, after in zip(self._before, self._look(), strict=True)
        )
        return Usage(own + kernel, max(0.0, busy - own - kernel) / seconds)
