"""Load on a proxy: requests for each second of CPU that it uses, in rounds that interleave."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass

from . import machine, paths, processes, progress, running
from .peers import Peer
from .processes import Started

DIRECT = "direct"
RATE = 4_000
CONNECTIONS = 64
# Of proxies that are so far behind that more would tell nothing.
BRIEF_ROUNDS = 3


@dataclass(frozen=True)
class Scenario:
    """One kind of traffic."""

    name: str
    title: str
    # What wrk asks for and how; no path: requests at a fixed rate.
    path: str = ""
    kind: str = "get"
    threads: int = 1


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("get1k", "GET of 1 KiB", "/1k"),
        Scenario("post512", "POST of 512 B", "/post", "post"),
        Scenario("big1m", "Download of 1 MiB", "/big"),
        Scenario("close", "A new connection for each GET of 1 KiB", "/1k", "close"),
        Scenario("get1k-2", "GET of 1 KiB, two threads", "/1k", threads=2),
        Scenario("rate", f"GET of 1 KiB at {RATE:,} requests a second"),
    )
}


@dataclass(frozen=True)
class Sample:
    """One proxy under one scenario in one round."""

    scenario: str
    proxy: str
    round: int
    requests: int
    seconds: float
    # Answers that were not 2xx or 3xx, and broken connections.
    errors: int
    p50_us: float
    p99_us: float
    # CPU seconds of the proxy's tree.
    user: float
    system: float
    # CPU seconds of proxy, upstream, load and kernel threads together.
    all_cpu: float
    # CPUs that anybody else used meanwhile.
    foreign: float
    peak_kib: int

    @property
    def per_cpu_second(self) -> float:
        """Requests for each second of CPU of the proxy."""
        return self.requests / max(self.user + self.system, 1e-3)

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def busy(self) -> float:
        """CPUs that the proxy used."""
        return (self.user + self.system) / self.seconds


@dataclass
class Plan:
    """How much is measured."""

    rounds: int
    # Of each sample, after a second of warming up.
    seconds: int
    # How many disturbed samples may be taken again, all in all.
    retries: int = 0


@dataclass(frozen=True)
class Loaded:
    """What a load tool told."""

    requests: int
    seconds: float
    errors: int
    p50_us: float
    p99_us: float


_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


def _microseconds(text: str, share: str) -> float:
    found = re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s|m)", text, re.M)
    return float(found.group(1)) * _UNITS[found.group(2)] if found else float("nan")


def wrk(scenario: Scenario, port: int, seconds: int, cpus: Sequence[int] | None = None) -> Loaded:
    """As many requests as come back, from 64 connections."""
    pinned = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
    script = str(paths.PEERS / "wrk.lua")
    command = [
        *pinned,
        *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "10s"),
        *("-s", script, f"http://127.0.0.1:{port}{scenario.path}", "--", scenario.kind),
    ]
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 30, check=True
    ).stdout
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", told)
    if not total:
        raise SystemExit(f"wrk said what is not understood: {told}")
    sockets = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    errors = sum(map(int, sockets.groups())) if sockets else 0
    return Loaded(
        requests=int(total.group(1)),
        seconds=float(total.group(2)) * _UNITS[total.group(3)] / 1e6,
        errors=errors + (int(refused.group(1)) if refused else 0),
        p50_us=_microseconds(told, "50"),
        p99_us=_microseconds(told, "99"),
    )


def at_rate(port: int, seconds: int, cpus: Sequence[int] | None) -> Loaded:
    """Requests at a fixed rate, whatever comes back."""
    pinned = ["taskset", "-c", ",".join(map(str, cpus))] if cpus else []
    numbers = (port, CONNECTIONS, RATE, seconds)
    command = [*pinned, paths.tool("rateload"), *map(str, numbers)]
    told = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + 30, check=True
    ).stdout
    found = json.loads(told)
    numbers_of = (found[name] for name in ("requests", "seconds", "errors", "p50_us", "p99_us"))
    return Loaded(*numbers_of)


def _once(
    scenario: Scenario, pid: int, port: int, plan: Plan, cpus: Sequence[int] | None
) -> tuple[Loaded, processes.Cpu, machine.Usage]:
    watch, before = machine.Watch(), processes.cpu(pid)
    if scenario.path:
        loaded = wrk(scenario, port, plan.seconds, cpus)
    else:
        loaded = at_rate(port, plan.seconds, cpus)
    return loaded, processes.cpu(pid) - before, watch.stop()


def _sample(
    scenario: Scenario,
    name: str,
    number: int,
    pid: int,
    port: int,
    plan: Plan,
    cpus: Sequence[int] | None,
) -> Sample:
    """Measures once, or once more if somebody else used the machine meanwhile."""
    if scenario.path:
        wrk(scenario, port, 1, cpus)
    loaded, used, machine_use = _once(scenario, pid, port, plan, cpus)
    if machine_use.foreign > machine.DISTURBED and plan.retries > 0:
        plan.retries -= 1
        again = _once(scenario, pid, port, plan, cpus)
        if again[2].foreign < machine_use.foreign:
            loaded, used, machine_use = again
    return Sample(
        scenario=scenario.name,
        proxy=name,
        round=number,
        user=used.user,
        system=used.system,
        all_cpu=machine_use.own,
        foreign=machine_use.foreign,
        peak_kib=processes.peak_memory(pid),
        **asdict(loaded),
    )


def measure(
    scenario: Scenario, peers: Sequence[Peer], plan: Plan, brief: Container[str] = ()
) -> list[Sample]:
    """Every proxy in every round, in turns: whoever came first comes last in the next. Those named
    in `brief` are in the first rounds only."""
    place = machine.placement(scenario.threads)
    samples: list[Sample] = []
    failed: set[str] = set()
    with running.upstream(place.load) as target:
        for number in range(plan.rounds):
            order = list(peers) if number % 2 == 0 else list(reversed(peers))
            for peer in order:
                if peer.name in failed or (number >= BRIEF_ROUNDS and peer.name in brief):
                    continue
                try:
                    with running.running(peer, scenario.threads, cpus=place.proxy) as proxy:
                        sample = _sample(
                            scenario, peer.name, number, proxy.pid, proxy.port, plan, place.load
                        )
                except (running.NotStarted, subprocess.SubprocessError) as error:
                    failed.add(peer.name)
                    progress.say(f"{scenario.name}: {peer.name} is left out: {error}")
                    continue
                samples.append(sample)
                _tell(sample)
            if not scenario.path:
                samples.append(_direct(scenario, number, target, plan, place))
                _tell(samples[-1])
    return samples


def _direct(
    scenario: Scenario, number: int, target: Started, plan: Plan, place: machine.Placement
) -> Sample:
    """The upstream without a proxy: what a latency is counted from."""
    port = running.UPSTREAM_PORT
    return _sample(scenario, DIRECT, number, target.pid, port, plan, place.load)


def _tell(sample: Sample) -> None:
    progress.say(
        f"{sample.scenario}, round {sample.round + 1}: {sample.proxy}"
        f" {sample.per_cpu_second:,.0f} requests per CPU-second,"
        f" {sample.busy:.2f} CPUs, others {sample.foreign:.2f}, errors {sample.errors}"
    )
