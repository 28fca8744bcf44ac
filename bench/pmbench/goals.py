"""What pmctl has to reach and what it would like to: the figures of a run against both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .peers import FORWARDER, SPLICING
from .pmctl import NAME
from .results import Results
from .tables import HAPROXY, added_p50, by_proxy, median, ratios, table

NAN = float("nan")


@dataclass(frozen=True)
class Goal:
    """One figure with two bounds; `at_most`: less is better."""

    title: str
    figure: Callable[[Results], float]
    # None: there is no such bound.
    must: float | None
    aim: float
    at_most: bool = False
    unit: str = ""
    digits: int = 2

    def verdict(self, value: float) -> str:
        """In a word."""
        if value != value:
            return "not measured"
        if self._reaches(value, self.aim):
            return "aim reached"
        if self.must is None:
            return "below the aim"
        return "holds" if self._reaches(value, self.must) else "MISSED"

    def _reaches(self, value: float, bound: float) -> bool:
        return value <= bound if self.at_most else value >= bound


def _of(scenario: str, base: str) -> Callable[[Results], float]:
    """The median ratio of pmctl to a base in the same rounds."""
    return lambda results: median(ratios(results.of(scenario), base)[NAME])


def _above(scenario: str) -> Callable[[Results], float]:
    """The median ratio to the best of the proxies that parse; each in the rounds that both have."""

    def figure(results: Results) -> float:
        samples = results.of(scenario)
        others = set(by_proxy(samples)) - {NAME, FORWARDER, SPLICING}
        found = [_ratio(results, scenario, name) for name in others]
        return min(found) if found else NAN

    return figure


def _ratio(results: Results, scenario: str, name: str) -> float:
    return median(ratios(results.of(scenario), name)[NAME])


def _p50(results: Results) -> float:
    """What pmctl adds to the median latency, of what haproxy adds."""
    added = added_p50(results.of("rate"))
    pairs = zip(added.get(NAME, []), added.get(HAPROXY, []), strict=False)
    return median(mine / theirs for mine, theirs in pairs if theirs > 0)


def _syscalls(results: Results) -> float:
    return median(s.each for s in results.syscalls if (s.proxy, s.scenario) == (NAME, "get1k"))


def _idle(results: Results) -> float:
    return median(i.each_kib for i in results.idle if i.proxy == NAME)


def _closing(results: Results) -> float:
    """The time to close all idle connections, of haproxy's."""
    times = {i.proxy: i.closed_after for i in results.idle}
    mine, theirs = times.get(NAME), times.get(HAPROXY)
    return mine / theirs if mine is not None and theirs else NAN


def _listeners_mib(results: Results) -> float:
    return median(one.memory_kib for one in results.listeners if one.proxy == NAME) / 1024


def _listeners_seconds(results: Results) -> float:
    return median(one.seconds for one in results.listeners if one.proxy == NAME)


def _answered(results: Results) -> float:
    """The worst share of requests in flight that were answered."""
    shares = [one.answered / one.active for one in results.stops if one.proxy == NAME]
    return min(shares) * 100 if shares else NAN


def _exit(results: Results) -> float:
    mine = (one.after_last for one in results.stops if one.proxy == NAME)
    return median(after * 1e3 for after in mine if after is not None)


def _body(results: Results) -> float:
    grown = [one.growth_kib for one in results.bodies if one.proxy == NAME]
    return max(grown) / 1024 if grown else NAN


def _quiet(results: Results) -> float:
    return results.quiet.share * 100 if results.quiet else NAN


GOALS = (
    Goal("GET of 1 KiB, of haproxy", _of("get1k", HAPROXY), 1.15, 1.30),
    Goal("GET of 1 KiB, of the best peer", _above("get1k"), 1.0, 1.30),
    Goal("GET of 1 KiB, of the forwarder that does not parse", _of("get1k", FORWARDER), None, 0.88),
    Goal("POST of 512 B, of haproxy", _of("post512", HAPROXY), 1.15, 1.40),
    Goal("1 MiB download, of the best peer", _above("big1m"), 1.0, 1.5),
    Goal("1 MiB download, of the copying forwarder", _of("big1m", FORWARDER), None, 1.5),
    Goal("new connection a request, of haproxy", _of("close", HAPROXY), 1.0, 1.2),
    Goal("two threads, GET, of haproxy", _of("get1k-2", HAPROXY), 1.2, 1.5),
    Goal("GET of 1 KiB, of express", _of("get1k", "express"), 15, 22, digits=1),
    Goal("added p50 at a fixed rate, of haproxy's", _p50, 1.0, 0.4, at_most=True),
    Goal("system calls a request", _syscalls, 4.20, 4.10, at_most=True),
    Goal("memory of an idle connection", _idle, 2, 1, at_most=True, unit="KiB"),
    Goal("all idle connections closed, of haproxy's time", _closing, 1.2, 1.0, at_most=True),
    Goal("1,000 services", _listeners_mib, 60, 25, at_most=True, unit="MiB", digits=1),
    Goal("1,000 services answer after", _listeners_seconds, 2, 0.5, at_most=True, unit="s"),
    Goal("requests in flight answered at a stop", _answered, 100, 100, unit="%", digits=0),
    Goal("exit after the last answer", _exit, 1_000, 20, at_most=True, unit="ms", digits=0),
    Goal("1 GiB with a slow end", _body, 1, 0.5, at_most=True, unit="MiB"),
    Goal("CPU without traffic", _quiet, 1, 0.5, at_most=True, unit="%"),
)


def goals_table(results: Results) -> str:
    """As Markdown; only what was measured."""
    rows = []
    for goal in GOALS:
        value = goal.figure(results)
        if value != value:
            continue
        sign, unit = "≤" if goal.at_most else "≥", f" {goal.unit}" if goal.unit else ""
        must = "–" if goal.must is None else f"{sign} {goal.must:g}{unit}"
        rows.append(
            [
                goal.title,
                f"{value:.{goal.digits}f}{unit}",
                must,
                f"{sign} {goal.aim:g}{unit}",
                goal.verdict(value),
            ]
        )
    return table(["pmctl", "measured", "must", "aim", ""], rows)
