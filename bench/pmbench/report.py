"""The page that a full run writes: versions, method, caveats, goals, tables."""

from __future__ import annotations

import time
from collections.abc import Sequence

from . import goals, machine
from .load import BRIEF_ROUNDS, CONNECTIONS, Plan
from .peers import Peer
from .results import Results
from .tables import table

METHOD = """\
- The figure is **requests per CPU-second**: requests answered, divided by the user and system
  time of the proxy's whole process tree. It holds on a machine that does other things too, where
  requests a second do not.
- Every sample is taken on a proxy that was just started, after one second of load. Rounds
  interleave: whoever came first comes last in the next. A ratio divides two samples of the same
  round; what is shown is the median of the ratios, the lowest and the highest.
- {connections} kept connections, heads as a browser sends them, one listener, one target, on
  loopback. {rounds} rounds of {seconds} s; of those that are far behind, the first {brief} only.
- Where the machine has a CPU more than the proxy has threads, the proxy has CPUs of its own, and
  load and upstream share the others.
- A sample during which others used more than {disturbed:.0%} of a CPU is taken again, at most
  {retries} times in a run; what others used is shown.
- pmctl is built as it is packaged (`--profile dist`) and runs as it comes: database, control plane,
  guardian, metrics, connection table and request counters are all on, and all count as its own.
- Memory is the proportional set size of the whole tree; *without files* leaves out mapped programs
  and libraries.
"""

CAVEATS = """\
- Loopback has no loss, no latency and cheap checksums: what a network costs is not in here.
- Load and upstream share the machine. A proxy whose *CPUs used* is below its number of threads was
  not saturated, which makes it look slightly worse than it is.
- *L4 forwarder* opens one connection to the upstream for each from a client and understands
  nothing: a ceiling, not a competitor. With a new connection for each request it opens two, where
  proxies that pool open one.
- haproxy and nginx allocate part of a connection's memory when they start.
- System calls are counted under strace, which slows everything down; batches are smaller without.
- Only proxies that were found on the machine appear.
"""


def page(results: Results, peers: Sequence[Peer], plan: Plan, retries: int) -> str:
    """All of it."""
    method = METHOD.format(
        connections=CONNECTIONS,
        rounds=plan.rounds,
        seconds=plan.seconds,
        brief=BRIEF_ROUNDS,
        disturbed=machine.DISTURBED,
        retries=retries,
    )
    versions = table(["proxy", "version"], [[p.name, p.found_version()] for p in peers])
    return f"""\
# How pmctl compares

Written by `bench/run.sh full`, which repeats all of this; `bench/README.md` says what it needs.

{time.strftime("%Y-%m-%d")}, {machine.described()}.

{versions}
## Goals

Ratios are of requests per CPU-second where nothing else is said.

{goals.goals_table(results)}
## Method

{method}
## Caveats

{CAVEATS}
## Figures

{results.markdown()}"""
