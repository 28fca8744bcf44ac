"""Processes: trees of them, what they have used, and how they end. Nothing here ends a process that
was not started here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def tree(root: int) -> list[int]:
    """A process and all that descend from it, the root first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += children.get(pid, [])
    return found


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def __sub__(self, earlier: Cpu) -> Cpu:
        return Cpu(self.user - earlier.user, self.system - earlier.system)


def cpu(root: int) -> Cpu:
    """What a tree has used so far, children that ended and were awaited included."""
    user = system = 0
    for pid in tree(root):
        if fields := _stat(pid):
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
    return Cpu(user / TICKS, system / TICKS)


def precise_cpu(root: int) -> float:
    """Seconds that the living threads of a tree have run, to the nanosecond."""
    total = 0
    for pid in tree(root):
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def memory(root: int) -> int:
    """KiB that a tree holds; a page that several processes share counts once."""
    return _sum_of(root, "smaps_rollup", "Pss")


def private_memory(root: int) -> int:
    """KiB of a tree that are no file's: heaps and stacks."""
    return _sum_of(root, "smaps_rollup", "Pss_Anon")


def peak_memory(root: int) -> int:
    """KiB that each process of a tree held at most, added up."""
    return _sum_of(root, "status", "VmHWM")


def _sum_of(root: int, file: str, field: str) -> int:
    total = 0
    for pid in tree(root):
        try:
            text = Path(f"/proc/{pid}/{file}").read_text()
        except OSError:
            continue
        found = re.search(rf"^{field}:\s+(\d+)", text, re.M)
        total += int(found.group(1)) if found else 0
    return total


class Started:
    """A process that was started here; it is gone, with all that descends from it, after `end`."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        cpus: Sequence[int] | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        pinned = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
        self.log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [*pinned, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=env,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, number: signal.Signals) -> None:
        """Sends a signal to the root of the tree."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The end of what it printed."""
        return self.log.read_text(errors="replace")[-800:].strip()

    def end(self, politely: signal.Signals = signal.SIGTERM, patience: float = 3.0) -> None:
        """Asks it to stop, then kills what is left of it."""
        members = tree(self.pid) if self._process.poll() is None else []
        self.tell(politely)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        deadline = time.monotonic() + 1.0
        for pid in members[1:]:
            while _is_alive(pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            if _is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    fields = _stat(pid)
    return fields is not None and fields[0] != "Z"
