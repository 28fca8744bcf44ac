"""Numbers as Markdown."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from .load import DIRECT, SCENARIOS, Sample
from .peers import FORWARDER, SPLICING

HAPROXY = "haproxy"
BASES = (HAPROXY, FORWARDER, SPLICING)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [_line(heads), _line(["---"] + ["---:"] * (len(heads) - 1))]
    return "\n".join([*lines, *(_line(row) for row in rows)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def median(values: Iterable[float]) -> float:
    """Of no values: not a number."""
    known = [value for value in values if value == value]
    return statistics.median(known) if known else float("nan")


def spread(values: Sequence[float], digits: int) -> str:
    """Median, and from where to where."""
    low, high = min(values), max(values)
    return f"{median(values):,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def by_proxy(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Samples of one scenario, by proxy."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[sample.proxy].append(sample)
    return found


def ratios(samples: Iterable[Sample], base: str) -> dict[str, list[float]]:
    """Requests per CPU-second of each proxy, each divided by the base's in the same round."""
    by_round: dict[int, dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        by_round[sample.round][sample.proxy] = sample
    found: dict[str, list[float]] = defaultdict(list)
    for of_round in by_round.values():
        if base in of_round:
            for name, sample in of_round.items():
                found[name].append(sample.per_cpu_second / of_round[base].per_cpu_second)
    return found


def added_p50(samples: Iterable[Sample]) -> dict[str, list[float]]:
    """Microseconds that each proxy adds to the median latency, by round."""
    samples = list(samples)
    direct = {s.round: s.p50_us for s in samples if s.proxy == DIRECT}
    found: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if sample.proxy != DIRECT and sample.round in direct:
            found[sample.proxy].append(sample.p50_us - direct[sample.round])
    return found


def scenario_tables(samples: Sequence[Sample]) -> str:
    """All that was measured of one scenario."""
    scenario = SCENARIOS[samples[0].scenario]
    proxies = by_proxy(samples)
    rounds = max(len(of_proxy) for of_proxy in proxies.values())
    order = sorted(proxies, key=lambda name: -median(s.per_cpu_second for s in proxies[name]))
    text = f"### {scenario.title}\n\n{scenario.threads} proxy thread(s), {rounds} rounds.\n\n"
    text += _ratio_table(samples, order)
    if not scenario.path:
        text += "\n" + _latency_table(samples, proxies)
    rows = []
    for name in order:
        mine = proxies[name]
        rows.append(
            [
                name,
                spread([s.per_cpu_second for s in mine], 0),
                f"{median(s.user / s.requests * 1e6 for s in mine):.1f}",
                f"{median(s.system / s.requests * 1e6 for s in mine):.1f}",
                f"{median(s.all_cpu / s.requests * 1e6 for s in mine):.1f}",
                f"{median(s.per_second for s in mine):,.0f}",
                f"{median(s.p50_us for s in mine):,.0f}",
                f"{median(s.p99_us for s in mine):,.0f}",
                f"{max(s.peak_kib for s in mine) / 1024:.1f}",
                f"{median(s.busy for s in mine):.2f}",
                f"{median(s.foreign for s in mine):.2f}",
                str(sum(s.errors for s in mine)),
            ]
        )
    heads = [
        "proxy",
        "requests per CPU-second",
        "user µs/req",
        "system µs/req",
        "whole path µs/req",
        "req/s",
        "p50 µs",
        "p99 µs",
        "peak MiB",
        "CPUs used",
        "CPUs of others",
        "errors",
    ]
    return text + "\n" + table(heads, rows)


def _ratio_table(samples: Sequence[Sample], order: Sequence[str]) -> str:
    found = {base: ratios(samples, base) for base in BASES}
    bases = [base for base in BASES if found[base]]
    rows = []
    for name in order:
        cells = [spread(found[base][name], 2) if found[base][name] else "–" for base in bases]
        rows.append([name, *cells])
    return table(["proxy", *(f"of {base}" for base in bases)], rows)


def _latency_table(samples: Sequence[Sample], proxies: dict[str, list[Sample]]) -> str:
    added = added_p50(samples)
    rows = [
        [
            name,
            spread(values, 0),
            f"{median(s.p99_us for s in proxies[name]):,.0f}",
        ]
        for name, values in sorted(added.items(), key=lambda item: median(item[1]))
    ]
    return table(["proxy", "added to p50, µs", "p99 µs"], rows)
