"""What each proxy does to a request: figures are only comparable where the work is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import progress, running, sockets
from .peers import Peer
from .tables import table

REQUEST = (
    b"GET /echo HTTP/1.1\r\nHost: bench.local\r\nConnection: keep-alive, X-Drop\r\nX-Drop: 1\r\n"
    b"TE: gzip\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nX-Keep: yes\r\n\r\n"
)


@dataclass(frozen=True)
class Honesty:
    """What a target saw of one request."""

    proxy: str
    done: dict[str, bool]


def look(peers: Sequence[Peer]) -> list[Honesty]:
    """Sends one request through each."""
    found = []
    with running.upstream():
        for peer in peers:
            try:
                with running.running(peer) as proxy, sockets.connect(proxy.port) as stream:
                    _, head = sockets.exchange(stream, REQUEST)
            except (running.NotStarted, OSError) as error:
                progress.say(f"check: {peer.name} is left out: {error}")
                continue
            found.append(Honesty(peer.name, _judge(head.decode().lower())))
    return found


def _judge(head: str) -> dict[str, bool]:
    lines = [line.partition(":") for line in head.split("\r\n")[1:]]
    fields = {name: value.strip() for name, colon, value in lines if colon}
    return {
        "Host of the target": fields.get("host") == f"127.0.0.1:{running.UPSTREAM_PORT}",
        "X-Forwarded-For": "127.0.0.1" in fields.get("x-forwarded-for", ""),
        "-Proto": fields.get("x-forwarded-proto") == "http",
        "-Host": "bench.local" in fields.get("x-forwarded-host", ""),
        "hop-by-hop fields dropped": not {"proxy-connection", "keep-alive", "te"} & set(fields),
        "fields of Connection dropped": "x-drop" not in fields,
        "others kept": fields.get("x-keep") == "yes",
    }


def honesty_table(found: Sequence[Honesty]) -> str:
    """As Markdown."""
    heads = ["proxy", *(found[0].done if found else ())]
    rows = [[one.proxy, *("yes" if d else "no" for d in one.done.values())] for one in found]
    return "### What each does to a request\n\n" + table(heads, rows)
