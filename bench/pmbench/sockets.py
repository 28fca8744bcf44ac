"""Clients by hand: ports that are awaited, requests that are sent, connections that are kept."""

from __future__ import annotations

import re
import socket
import time

LOOPBACK = "127.0.0.1"


def request(path: str = "/1k") -> bytes:
    """A plain GET that keeps its connection."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: pmbench\r\nAccept: */*\r\n\r\n"
    ).encode()


def connect(port: int) -> socket.socket:
    """A connection to a port on loopback."""
    return socket.create_connection((LOOPBACK, port), 5)


def is_open(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        connect(port).close()
    except OSError:
        return False
    return True


def wait_open(port: int, seconds: float) -> bool:
    """Waits until somebody accepts connections there."""
    deadline = time.monotonic() + seconds
    while not is_open(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def wait_free(port: int, seconds: float = 5.0) -> bool:
    """Waits until the port can be had."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
                return True
            except OSError:
                if time.monotonic() > deadline:
                    return False
        time.sleep(0.02)


def exchange(stream: socket.socket, message: bytes) -> tuple[bytes, bytes]:
    """Sends a request and returns head and body of the answer."""
    stream.sendall(message)
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(stream)
    head, body = received.split(b"\r\n\r\n", 1)
    length = re.search(rb"content-length:\s*(\d+)", head, re.I)
    if length:
        while len(body) < int(length.group(1)):
            body += _more(stream)
    else:
        while not body.endswith(b"0\r\n\r\n"):
            body += _more(stream)
    return head, body


def _more(stream: socket.socket) -> bytes:
    received = stream.recv(65536)
    if not received:
        raise ConnectionError("the connection was closed in the middle of an answer")
    return received


def open_idle(port: int, count: int, opened: list[socket.socket]) -> None:
    """Adds that many connections, each of which has had one request answered, to `opened`."""
    message = request()
    for _ in range(count):
        stream = connect(port)
        opened.append(stream)
        exchange(stream, message)


def close_all(streams: list[socket.socket]) -> None:
    """Closes them and forgets them."""
    for stream in streams:
        stream.close()
    streams.clear()
