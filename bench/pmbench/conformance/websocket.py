"""WebSocket connections through pmctl and without it: what comes back has to be the same bytes."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .. import paths, progress, running, sockets
from ..pmctl import Pmctl
from ..processes import Started
from .cases import Case, every
from .frames import Messages, close

LIBRARY = "websockets==17.4"
PATIENCE = 20.0
# A server that fails a connection may reset it, and what was under way then arrives or not.
TRIES = 3


@dataclass(frozen=True)
class Outcome:
    """What came back."""

    status: str
    # Fields of the answer that belong to the handshake.
    handshake: dict[str, str]
    received: bytes
    # Closed by the far end, in whatever way, or not at all.
    closed: bool

    def shown(self) -> str:
        """For a person."""
        end = "closed" if self.closed else "left open"
        return f"{self.status} {self.handshake} {len(self.received)} bytes, {end}"


@dataclass(frozen=True)
class Compared:
    """One case, both ways."""

    number: str
    direct: Outcome
    proxied: Outcome

    @property
    def equal(self) -> bool:
        return self.direct == self.proxied


def run(pmctl: Pmctl) -> list[Compared]:
    """Every case both ways."""
    with _echo(), running.running(pmctl.peer()) as proxy:
        return [_compare(case, proxy.port) for case in every()]


def _compare(case: Case, port: int) -> Compared:
    for _ in range(TRIES):
        found = Compared(case.number, _talk(case, running.UPSTREAM_PORT), _talk(case, port))
        if found.equal:
            return found
    progress.say(f"websocket {case.number}: direct {found.direct.shown()}")
    progress.say(f"websocket {case.number}: proxied {found.proxied.shown()}")
    return found


def _talk(case: Case, port: int) -> Outcome:
    fields = {
        "Host": "bench.local",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **({"Sec-WebSocket-Extensions": case.extensions} if case.extensions else {}),
        **case.fields,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with sockets.connect(port) as stream:
        stream.settimeout(PATIENCE)
        stream.sendall(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
        received = b""
        while b"\r\n\r\n" not in received:
            piece = stream.recv(65536)
            if not piece:
                return Outcome("no answer", {}, received, True)
            received += piece
        head, _, first = received.partition(b"\r\n\r\n")
        status, _, rest = head.decode("latin-1").partition("\r\n")
        named = (line.partition(":") for line in rest.split("\r\n"))
        kept = {
            name.lower(): value.strip()
            for name, _, value in named
            if name.lower().startswith("sec-websocket-")
        }
        writer = threading.Thread(target=_write, args=(stream, case.writes, case.chop))
        writer.start()
        body, closed = _read(stream, first, writer, None if case.ends else _messages(case))
        writer.join()
    return Outcome(status, kept, body, closed)


def _write(stream: socket.socket, writes: Sequence[bytes], chop: int) -> None:
    # The far end may have had enough before all is said.
    with suppress(OSError):
        for written in writes:
            size = chop or max(len(written), 1)
            for at in range(0, len(written), size):
                stream.sendall(written[at : at + size])


def _messages(case: Case) -> int:
    seen = Messages()
    seen.feed(b"".join(case.writes))
    return seen.count


def _read(
    stream: socket.socket, first: bytes, writer: threading.Thread, expected: int | None
) -> tuple[bytes, bool]:
    """Reads to the end, and says goodbye after so many messages: an echo server that is told to go
    forgets what it has not answered yet."""
    received, seen, piece = bytearray(first), Messages(), first
    while True:
        seen.feed(piece)
        if expected is not None and seen.count >= expected:
            # Behind all that the case says.
            writer.join()
            stream.sendall(close())
            expected = None
        try:
            piece = stream.recv(1 << 18)
        except TimeoutError:
            return bytes(received), False
        except OSError:
            return bytes(received), True
        if not piece:
            return bytes(received), True
        received += piece


def _python() -> Path:
    """A Python that has the library of the echo server."""
    folder = paths.work() / "websockets"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, LIBRARY], check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    return python


@contextmanager
def _echo() -> Iterator[None]:
    script = str(paths.BENCH / "peers" / "echo.py")
    command = [str(_python()), script, str(running.UPSTREAM_PORT)]
    process = Started(command, paths.work() / "echo.log")
    try:
        if not sockets.wait_open(running.UPSTREAM_PORT, 10):
            raise SystemExit(f"the echo server did not start: {process.last_words()}")
        time.sleep(0.1)
        yield
    finally:
        process.end()
