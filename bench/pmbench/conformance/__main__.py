"""The command line; README.md of the benchmarks says what it does."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from .. import pmctl, setup, tables
from . import h2spec, websocket


def http2(built: pmctl.Pmctl) -> bool:
    """Whether h2spec finds nothing that it does not find in hyper's own server."""
    mine, bare = h2spec.run(built)
    rows = [
        [name, *(str(len(found.of(word))) for word in ("passed", "skipped", "failed"))]
        for name, found in (("pmctl", mine), ("hyper's own server", bare))
    ]
    print("### HTTP/2 (h2spec, strict)\n")
    print(tables.table(["server", "passed", "skipped", "failed"], rows))
    differ = [
        case for case, verdict in mine.cases.items() if bare.cases.get(case, verdict) != verdict
    ]
    for case in differ:
        print(f"- {case}: pmctl {mine.cases[case]}, hyper {bare.cases[case]}")
    for case in mine.of("failed"):
        if case not in differ:
            print(f"- {case}: failed by both")
    # Being better than hyper is no fault.
    return not any(mine.cases[case] == "failed" for case in differ)


def websockets(built: pmctl.Pmctl) -> bool:
    """Whether every case has the same outcome with and without pmctl."""
    found = websocket.run(built)
    differ = [one for one in found if not one.equal]
    print("\n### WebSocket (cases of Autobahn's suite, by their numbers)\n")
    print(f"{len(found)} cases, {len(found) - len(differ)} the same without pmctl and through it.")
    for one in differ:
        print(f"- {one.number}: without {one.direct.shown()}; through {one.proxied.shown()}")
    return not differ


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(prog="bench/conformance.sh", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("all", "http2", "websocket"), default="all")
    parser.add_argument("--pmctl", metavar="FILE", help="a built pmctl [default: it is built]")
    arguments = parser.parse_args()
    setup.tools()
    program = Path(arguments.pmctl) if arguments.pmctl else pmctl.build()
    built = pmctl.Pmctl(program.absolute())
    good = True
    if arguments.what in ("all", "http2"):
        good &= http2(built)
    if arguments.what in ("all", "websocket"):
        good &= websockets(built)
    sys.exit(0 if good else 1)


main()
