"""HTTP/2 by h2spec, against pmctl and against hyper's own server."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .. import paths, running, setup, sockets
from ..pmctl import Pmctl
from ..processes import Started

PACKAGE = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1"
BARE_PORT = 19792
# Seconds that h2spec waits for what a server has to do.
PATIENCE = 2


@dataclass(frozen=True)
class Verdicts:
    """What h2spec says of one server: a word for each of its cases."""

    cases: dict[str, str]

    def of(self, verdict: str) -> list[str]:
        """The cases with that verdict."""
        return [case for case, found in self.cases.items() if found == verdict]


def run(pmctl: Pmctl) -> tuple[Verdicts, Verdicts]:
    """pmctl's verdicts and the bare server's."""
    program = setup.go_program("h2spec", PACKAGE)
    with running.upstream(), running.running(pmctl.peer()) as proxy:
        mine = _judge(program, proxy.port)
    with _bare():
        bare = _judge(program, BARE_PORT)
    return mine, bare


def _judge(program: Path, port: int) -> Verdicts:
    report = paths.work() / "h2spec.xml"
    report.unlink(missing_ok=True)
    command = [str(program), "-p", str(port), "-S", "-o", str(PATIENCE), "-j", str(report)]
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=600)
    if not report.exists():
        raise SystemExit("h2spec wrote no report: run it by hand to see why")
    found: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('package')}: {case.get('classname')}"
        verdict = "passed"
        if case.find("failure") is not None or case.find("error") is not None:
            verdict = "failed"
        elif case.find("skipped") is not None:
            verdict = "skipped"
        found[name] = verdict
    return Verdicts(found)


@contextmanager
def _bare() -> Iterator[None]:
    command = [paths.tool("barehyper"), str(BARE_PORT)]
    process = Started(command, paths.work() / "barehyper.log")
    try:
        if not sockets.wait_open(BARE_PORT, 5):
            raise SystemExit(f"the bare server did not start: {process.last_words()}")
        yield
    finally:
        process.end()
