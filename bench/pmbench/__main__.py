"""The command line; see README.md beside this folder."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import (
    bodies,
    connections,
    goals,
    honesty,
    listeners,
    load,
    machine,
    paths,
    peers,
    pmctl,
    progress,
    quiet,
    report,
    setup,
    stop,
    syscalls,
)
from .peers import FORWARDER, SPLICING, Peer
from .results import Results

# Who is in every scenario; the others are in three, because they are far behind and cost time.
CORE = (pmctl.NAME, "haproxy", "nginx", FORWARDER)
FOR_ALL = ("get1k", "post512", "big1m")
SERVERS = (pmctl.NAME, "haproxy", "nginx")
QUICK_ROUNDS = 3
FULL_RETRIES = 12


class Bench:
    """Who is compared, and what was found so far."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.results = Results()
        program = Path(arguments.pmctl) if arguments.pmctl else pmctl.build()
        self.pmctl = pmctl.Pmctl(program.absolute())
        known = [self.pmctl.peer(), *peers.builtin(), *map(peers.plugged, arguments.proxy)]
        self.peers = [peer for peer in known if peer.is_there()]
        self.only = arguments.only.split(",") if arguments.only else []
        for name in self.only:
            if name not in [peer.name for peer in self.peers]:
                raise SystemExit(f"--only: {name} is not known or not installed")

    def among(self, names: Sequence[str]) -> list[Peer]:
        """Those that are there; `--only` decides, and what was plugged in takes part."""
        plugged = [written.partition("=")[0] for written in self.arguments.proxy]
        wanted = self.only or [*names, *plugged]
        return [peer for peer in self.peers if peer.name in wanted]

    @property
    def parsing(self) -> list[str]:
        return [peer.name for peer in self.peers if peer.parses]

    def measure(self, scenarios: Sequence[str], plan: load.Plan, everybody: bool) -> None:
        """Adds samples of these scenarios."""
        for name in scenarios:
            names = [*CORE, SPLICING] if name == "big1m" else list(CORE)
            brief = []
            if everybody and name in FOR_ALL:
                brief = [other for other in self.parsing if other not in names]
            compared = self.among([*names, *brief])
            self.results.samples += load.measure(load.SCENARIOS[name], compared, plan, brief)

    def idle(self) -> None:
        self.results.idle += connections.idle(self.among(SERVERS), self.arguments.connections)

    def listeners(self, rounds: int) -> None:
        count = self.arguments.listeners
        self.results.listeners += listeners.measure(self.among(SERVERS), count, rounds)

    def stop(self, rounds: int) -> None:
        self.results.stops += stop.measure(self.among(SERVERS), 1_000, 100, rounds)

    def syscalls(self, seconds: int) -> None:
        scenarios = [load.SCENARIOS[name] for name in ("get1k", "post512")]
        self.results.syscalls += syscalls.measure(scenarios, self.among(CORE), seconds)

    def bodies(self) -> None:
        # nginx keeps request bodies in files, so what it holds of them in memory says nothing.
        self.results.bodies += bodies.measure(self.among((pmctl.NAME, "haproxy")), 1_024)

    def quiet(self) -> None:
        count = self.arguments.listeners
        self.results.quiet = quiet.measure(self.pmctl, count, self.arguments.quiet_seconds)

    def honesty(self) -> None:
        self.results.honesty += honesty.look(self.among(self.parsing))


def parser() -> argparse.ArgumentParser:
    """What may be said."""
    found = argparse.ArgumentParser(prog="bench/run.sh", description=__doc__)
    found.add_argument(
        "what",
        choices=(
            *("setup", "quick", "full", "check", "load"),
            *("memory", "idle", "listeners", "stop", "syscalls", "bodies", "quiet"),
        ),
        help="quick: four proxies, three rounds; full: everything, and writes RESULTS.md",
    )
    found.add_argument("--pmctl", metavar="FILE", help="a built pmctl [default: it is built]")
    found.add_argument(
        "--proxy",
        metavar="NAME=COMMAND",
        action="append",
        default=[],
        help="one more proxy; {port} {count} {up} {threads} {dir} in its command are filled in",
    )
    found.add_argument("--only", metavar="NAMES", help="only these proxies, with commas between")
    names = ",".join(load.SCENARIOS)
    found.add_argument("--scenario", default=names, help=f"of load [default: {names}]")
    found.add_argument("--rounds", type=int, help="[default: 3; full: 5]")
    found.add_argument("--seconds", type=int, default=2, help="of one sample [default: 2]")
    found.add_argument("--connections", type=int, default=20_000, help="idle ones [default: 20000]")
    found.add_argument("--listeners", type=int, default=1_000, help="[default: 1000]")
    found.add_argument("--quiet-seconds", type=int, default=60, help="[default: 60]")
    found.add_argument("--out", default=str(paths.BENCH / "RESULTS.md"), help="page of full")
    return found


def run(arguments: argparse.Namespace) -> None:
    """Does what was asked for."""
    what = arguments.what
    setup.required()
    if what in ("setup", "full"):
        setup.more_peers()
    if what == "setup":
        return
    bench = Bench(arguments)
    begun = time.monotonic()
    rounds = arguments.rounds or (5 if what == "full" else QUICK_ROUNDS)
    plan = load.Plan(rounds, arguments.seconds, FULL_RETRIES if what == "full" else 0)
    try:
        measure(bench, what, rounds, plan)
    finally:
        # What was measured before something went wrong is still true.
        stamp = time.strftime("%Y%m%d-%H%M%S")
        bench.results.keep(paths.work() / "results" / f"{stamp}-{what}.json")
    if what == "full":
        page = report.page(bench.results, bench.peers, plan, FULL_RETRIES)
        Path(arguments.out).write_text(page)
    summary = goals.goals_table(bench.results)
    print(f"{bench.results.markdown()}\n### Goals\n\n{summary}", flush=True)
    progress.say(f"{(time.monotonic() - begun) / 60:.1f} minutes, raw figures in {paths.work()}")


def measure(bench: Bench, what: str, rounds: int, plan: load.Plan) -> None:
    """Adds to the results what belongs to one command."""
    match what:
        case "quick":
            bench.measure(["get1k", "post512", "big1m"], plan, everybody=False)
            bench.syscalls(2)
        case "load":
            bench.measure(bench.arguments.scenario.split(","), plan, everybody=False)
        case "check":
            bench.honesty()
        case "idle":
            bench.idle()
        case "listeners":
            bench.listeners(rounds)
        case "stop":
            bench.stop(rounds)
        case "syscalls":
            bench.syscalls(bench.arguments.seconds)
        case "bodies":
            bench.bodies()
        case "quiet":
            bench.quiet()
        case "memory":
            bench.idle()
            bench.bodies()
            bench.listeners(1)
            bench.quiet()
        case "full":
            bench.honesty()
            bench.measure(list(load.SCENARIOS), plan, everybody=True)
            bench.syscalls(3)
            bench.idle()
            bench.listeners(3)
            bench.stop(3)
            bench.bodies()
            bench.quiet()


def main() -> None:
    # Ends what was started, whatever ends this.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    machine.descriptors()
    try:
        run(parser().parse_args())
    except KeyboardInterrupt:
        sys.exit(130)


main()
