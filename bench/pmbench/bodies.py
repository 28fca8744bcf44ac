"""Bodies of a gibibyte whose one end is slow: what a proxy holds of them meanwhile."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import processes, progress, running, sockets
from .peers import Peer
from .tables import table

PIECE = 1 << 20
# The slow end takes or gives nothing for so long, and then a piece every few milliseconds.
PAUSE = 2.0
BETWEEN = 0.004


@dataclass(frozen=True)
class Body:
    """What a proxy held at most while one body passed."""

    proxy: str
    case: str
    mib: int
    whole: bool
    growth_kib: int


def measure(peers: Sequence[Peer], mib: int) -> list[Body]:
    """Each case with each proxy."""
    cases: dict[str, Callable[[int, int], bool]] = {
        "slow reader of a download": _slow_reader,
        "slow sender of an upload": _slow_sender,
        "slow upstream of an upload": _slow_upstream,
    }
    found = []
    with _upstream():
        for peer in peers:
            try:
                with running.running(peer) as proxy:
                    for case, pass_body in cases.items():
                        found.append(_one(peer, proxy, case, pass_body, mib))
            except (running.NotStarted, OSError) as error:
                progress.say(f"bodies: {peer.name} is left out: {error}")
    return found


def _one(
    peer: Peer,
    proxy: running.Running,
    case: str,
    pass_body: Callable[[int, int], bool],
    mib: int,
) -> Body:
    # What the first request costs is not counted.
    _slow_reader(proxy.port, 0)
    time.sleep(0.3)
    before = processes.private_memory(proxy.pid)
    highest, done = before, threading.Event()

    def look() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, processes.private_memory(proxy.pid))

    looker = threading.Thread(target=look)
    looker.start()
    try:
        whole = pass_body(proxy.port, mib)
    except OSError:
        whole = False
    finally:
        done.set()
        looker.join()
    progress.say(f"bodies: {peer.name}, {case}: {highest - before} KiB, whole {whole}")
    return Body(peer.name, case, mib, whole, highest - before)


def _slow_reader(port: int, mib: int) -> bool:
    with sockets.connect(port) as stream:
        stream.settimeout(30)
        stream.sendall(sockets.request(f"/{mib}"))
        time.sleep(PAUSE if mib else 0)
        buffer, left = bytearray(PIECE), None
        while left != 0:
            read = stream.recv_into(buffer)
            if read == 0:
                return False
            if left is None:
                head, _, rest = bytes(buffer[:read]).partition(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    return False
                left, read = mib * PIECE, len(rest)
            left -= read
            time.sleep(BETWEEN if mib else 0)
    return True


def _upload(port: int, path: str, mib: int, between: float) -> bool:
    with sockets.connect(port) as stream:
        stream.settimeout(30)
        length = mib * PIECE
        stream.sendall(
            f"PUT {path} HTTP/1.1\r\nHost: bench.local\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        piece = bytes(PIECE)
        time.sleep(PAUSE if between else 0)
        for _ in range(mib):
            stream.sendall(piece)
            time.sleep(between)
        return stream.recv(65536).startswith(b"HTTP/1.1 200")


def _slow_sender(port: int, mib: int) -> bool:
    return _upload(port, "/fast", mib, BETWEEN)


def _slow_upstream(port: int, mib: int) -> bool:
    return _upload(port, "/slow", mib, 0)


@contextlib.contextmanager
def _upstream() -> Iterator[None]:
    """GET /N answers N MiB, PUT /slow is read slowly, any other PUT as it comes."""
    listener = socket.create_server(("127.0.0.1", running.UPSTREAM_PORT))

    def accept() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=(stream,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        # Wakes the thread that accepts, which closing alone does not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _serve(stream: socket.socket) -> None:
    with stream, contextlib.suppress(OSError):
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                piece = stream.recv(65536)
                if not piece:
                    return
                received += piece
            head, _, received = received.partition(b"\r\n\r\n")
            method, path, _ = head.split(b" ", 2)
            if method == b"PUT":
                received = _take(stream, head, received, slowly=path == b"/slow")
                stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                continue
            count, piece = int(path[1:]), bytes(PIECE)
            stream.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {count * PIECE}\r\n\r\n".encode())
            for _ in range(count):
                stream.sendall(piece)


def _take(stream: socket.socket, head: bytes, received: bytes, slowly: bool) -> bytes:
    length = re.search(rb"content-length: *(\d+)", head, re.I)
    left = (int(length.group(1)) if length else 0) - len(received)
    buffer = bytearray(PIECE)
    time.sleep(PAUSE if slowly else 0)
    while left > 0:
        read = stream.recv_into(buffer, min(left, PIECE))
        if read == 0:
            raise ConnectionError("the body was cut")
        left -= read
        time.sleep(BETWEEN if slowly else 0)
    return b""


def bodies_table(found: Sequence[Body]) -> str:
    """As Markdown."""
    rows = [
        [f"{one.proxy}, {one.case}", f"{one.growth_kib:,}", "yes" if one.whole else "NO"]
        for one in found
    ]
    mib = found[0].mib if found else 0
    return f"### Bodies of {mib:,} MiB with a slow end\n\n" + table(
        ["proxy", "KiB more at most", "arrived whole"], rows
    )
