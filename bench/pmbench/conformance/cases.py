"""The cases: what a client writes. Their numbers are those of Autobahn's test suite, after whose
descriptions they are made; where that has hundreds of a kind, some stand for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .frames import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Deflater,
    close,
    fragments,
    frame,
)

STAR = b"*"
HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()
KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Case:
    """What is written behind the handshake, and what the handshake offers."""

    number: str
    # Writes, one after the other.
    writes: list[bytes]
    # Offered with Sec-WebSocket-Extensions.
    extensions: str = ""
    # Bytes of one write to the socket; 0: each of `writes` whole.
    chop: int = 0
    # Without it the client says goodbye by itself.
    ends: bool = False
    fields: dict[str, str] = field(default_factory=dict)


def every() -> list[Case]:
    """All of them."""
    parts = (_framing, _pings, _reserved, _opcodes, _fragmentation, _utf8, _closing, _limits)
    return [case for part in (*parts, _compression) for case in part()]


def _framing() -> Iterator[Case]:
    for group, opcode in (("1.1", TEXT), ("1.2", BINARY)):
        sizes = (0, 125, 126, 127, 128, 65535, 65536)
        for at, size in enumerate(sizes, 1):
            yield Case(f"{group}.{at}", [frame(opcode, STAR * size)])
        yield Case(f"{group}.8", [frame(opcode, STAR * 65536)], chop=997)


def _pings() -> Iterator[Case]:
    binary = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
    pings = [frame(PING, f"payload-{at}".encode()) for at in range(10)]
    yield Case("2.1", [frame(PING)])
    yield Case("2.2", [frame(PING, b"Hello, world!")])
    yield Case("2.3", [frame(PING, binary)])
    yield Case("2.4", [frame(PING, b"\xfe" * 125)])
    yield Case("2.5", [frame(PING, b"\xfe" * 126)], ends=True)
    yield Case("2.6", [frame(PING, b"\xfe" * 125)], chop=1)
    yield Case("2.7", [frame(PONG)])
    yield Case("2.8", [frame(PONG, b"unsolicited pong payload")])
    yield Case("2.9", [frame(PONG, b"unsolicited"), frame(PING, b"ping payload")])
    yield Case("2.10", pings)
    yield Case("2.11", pings, chop=1)


def _reserved() -> Iterator[Case]:
    good, ping = frame(TEXT, b"Hello, world!"), frame(PING)
    yield Case("3.1", [frame(TEXT, b"Hello, world!", reserved=1)], ends=True)
    yield Case("3.2", [good, frame(TEXT, b"Hello", reserved=2), ping], ends=True)
    yield Case("3.3", [good + frame(TEXT, b"Hello", reserved=3) + ping], ends=True)
    yield Case("3.4", [good, frame(TEXT, b"Hello", reserved=4), ping], chop=1, ends=True)
    yield Case("3.5", [frame(BINARY, b"\x00\xff" * 4, reserved=5)], ends=True)
    yield Case("3.6", [frame(PING, b"Hello, world!", reserved=6)], ends=True)
    yield Case("3.7", [close(1000).replace(b"\x88", b"\xf8", 1)], ends=True)


def _opcodes() -> Iterator[Case]:
    good, ping = frame(TEXT, b"Hello, world!"), frame(PING)
    for group, opcodes in (("4.1", range(3, 8)), ("4.2", range(11, 16))):
        for at, opcode in enumerate(opcodes, 1):
            wrong = frame(opcode, b"reserved opcode payload" if at % 2 == 0 else b"")
            writes = [wrong] if at < 3 else [good, wrong, ping]
            yield Case(f"{group}.{at}", writes, chop=1 if at == 4 else 0, ends=True)


def _fragmentation() -> Iterator[Case]:
    first, last = b"fragment1", b"fragment2"
    start = frame(TEXT, first, final=False)
    end = frame(CONTINUATION, last)
    more = frame(CONTINUATION, first, final=False)
    ping, whole = frame(PING, b"ping payload"), frame(TEXT, b"Hello, world!")
    yield Case("5.1", [frame(PING, first, final=False), end], ends=True)
    yield Case("5.2", [frame(PONG, first, final=False), end], ends=True)
    yield Case("5.3", [start, end])
    yield Case("5.4", [start + end])
    yield Case("5.5", [start, end], chop=1)
    yield Case("5.6", [start, ping, end])
    yield Case("5.7", [start + ping + end])
    yield Case("5.8", [start, ping, end], chop=1)
    yield Case("5.9", [frame(CONTINUATION, b"non-continuation payload"), whole], ends=True)
    yield Case("5.10", [frame(CONTINUATION, b"non-continuation payload") + whole], ends=True)
    yield Case("5.11", [frame(CONTINUATION, b"non-continuation"), whole], chop=1, ends=True)
    yield Case("5.12", [more, whole], ends=True)
    yield Case("5.13", [more + whole], ends=True)
    yield Case("5.14", [more, whole], chop=1, ends=True)
    yield Case("5.15", [start, end, more, frame(TEXT, b"fragment4")], ends=True)
    yield Case("5.16", [more, start, end], ends=True)
    yield Case("5.17", [frame(CONTINUATION, first), start, end], ends=True)
    yield Case("5.18", [start, frame(TEXT, last)], ends=True)
    middle = [frame(CONTINUATION, f"fragment{at}".encode(), final=False) for at in range(2, 5)]
    tail = frame(CONTINUATION, b"fragment5")
    writes = [start, middle[0], ping, middle[1], middle[2], ping, tail]
    yield Case("5.19", writes)
    yield Case("5.20", [b"".join(writes[:3]), b"".join(writes[3:])])


VALID_UTF8 = [
    *("κόσμε", "\x00", "\u0080", "\u0800", "\U00010000", "\x7f", "\u07ff", "\uffff"),
    *("\ud7ff", "\ue000", "\ufffd", "\U0010ffff", "\ufffe", "\U0001fffe", "\U0010fffe"),
]
INVALID_UTF8 = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    *(b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xf7\xbf\xbf\xbf"),
    *(b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf", b"\xf4\x90\x80\x80"),
    *(b"\x80", b"\xbf", b"\x80\xbf", b"\x80\xbf\x80", b"\x80\xbf\x80\xbf\x80\xbf"),
    bytes(range(0x80, 0xC0)),
    b"".join(bytes([at, 0x20]) for at in range(0xC0, 0xE0)),
    b"".join(bytes([at, 0x20]) for at in range(0xE0, 0xF0)),
    *(b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfe", b"\xff"),
    *(b"\xfe\xfe\xff\xff", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf"),
    *(b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xc0\x80", b"\xe0\x80\x80"),
    *(b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80"),
]


def _utf8() -> Iterator[Case]:
    yield Case("6.1.1", [frame(TEXT)])
    empty = frame(CONTINUATION, final=False)
    yield Case("6.1.2", [frame(TEXT, final=False), empty, frame(CONTINUATION)])
    middle = frame(CONTINUATION, b"middle frame payload", final=False)
    yield Case("6.1.3", [frame(TEXT, final=False), middle, frame(CONTINUATION)])
    yield Case("6.2.1", [frame(TEXT, HELLO)])
    yield Case("6.2.2", fragments(TEXT, HELLO, 10))
    yield Case("6.2.3", fragments(TEXT, HELLO, 1))
    yield Case("6.2.4", fragments(TEXT, "κόσμε".encode(), 1))
    yield Case("6.3.1", [frame(TEXT, INVALID_UTF8[0])], ends=True)
    yield Case("6.3.2", fragments(TEXT, INVALID_UTF8[0], 1), ends=True)
    wrong = [b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", b"\xf4\x90\x80\x80", b"edited"]
    pieces = [
        frame(TEXT, wrong[0], final=False),
        frame(CONTINUATION, wrong[1], final=False),
        frame(CONTINUATION, wrong[2]),
    ]
    yield Case("6.4.1", pieces, ends=True)
    yield Case("6.4.3", [frame(TEXT, b"".join(wrong))], chop=7, ends=True)
    for at, text in enumerate(VALID_UTF8, 1):
        # What Python cannot encode is not valid.
        yield Case(f"6.5.{at}", [frame(TEXT, text.encode("utf-8"))])
    for at, text_bytes in enumerate(INVALID_UTF8, 1):
        yield Case(f"6.6.{at}", [frame(TEXT, text_bytes)], ends=True)


def _closing() -> Iterator[Case]:
    good, bye = frame(TEXT, b"Hello World!"), close()
    start = frame(TEXT, b"fragment1", final=False)
    yield Case("7.1.1", [good, bye], ends=True)
    yield Case("7.1.2", [bye, bye], ends=True)
    yield Case("7.1.3", [bye, frame(PING)], ends=True)
    yield Case("7.1.4", [bye, good], ends=True)
    yield Case("7.1.5", [start, bye, frame(CONTINUATION, b"fragment2")], ends=True)
    yield Case("7.1.6", [frame(TEXT, b"BAsd7&jh23" * 26 * KIB), bye, frame(PING)], ends=True)
    yield Case("7.3.1", [close(None)], ends=True)
    yield Case("7.3.2", [frame(8, b"a")], ends=True)
    yield Case("7.3.3", [close(1000)], ends=True)
    yield Case("7.3.4", [close(1000, b"Hello World!")], ends=True)
    yield Case("7.3.5", [close(1000, STAR * 123)], ends=True)
    yield Case("7.3.6", [close(1000, STAR * 124)], ends=True)
    yield Case("7.5.1", [close(1000, INVALID_UTF8[0])], ends=True)
    valid = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    for at, code in enumerate(valid, 1):
        yield Case(f"7.7.{at}", [close(code)], ends=True)
    for at, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        yield Case(f"7.9.{at}", [close(code)], ends=True)
    yield Case("7.13.1", [close(5000)], ends=True)
    yield Case("7.13.2", [close(65535)], ends=True)


def _limits() -> Iterator[Case]:
    for group, opcode in (("9.1", TEXT), ("9.2", BINARY)):
        sizes = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB)
        for at, size in enumerate(sizes, 1):
            yield Case(f"{group}.{at}", [frame(opcode, STAR * size)])
    for group, opcode in (("9.3", TEXT), ("9.4", BINARY)):
        pieces = (64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB)
        for at, size in enumerate(pieces, 1):
            # As many bytes in smaller pieces would take the echo server longer than all the rest.
            whole = STAR * min(4 * MIB, size * 2_000)
            yield Case(f"{group}.{at}", [b"".join(fragments(opcode, whole, size))])
    for group, opcode in (("9.5", TEXT), ("9.6", BINARY)):
        for at, chop in enumerate((64, 128, 256, 512, KIB, 2 * KIB), 1):
            yield Case(f"{group}.{at}", [frame(opcode, STAR * (256 * KIB))], chop=chop)
    for group, opcode in (("9.7", TEXT), ("9.8", BINARY)):
        for at, size in enumerate((0, 16, 64, 256, KIB, 4 * KIB), 1):
            yield Case(f"{group}.{at}", [frame(opcode, STAR * size)] * 200)
    yield Case("10.1.1", fragments(TEXT, STAR * 65536, 1300))


# What is offered, the window of what the client compresses, whether it keeps its context.
OFFERS = (
    ("permessage-deflate", 15, True),
    ("permessage-deflate; client_no_context_takeover", 15, False),
    ("permessage-deflate; server_no_context_takeover", 15, True),
    ("permessage-deflate; server_max_window_bits=9", 15, True),
    ("permessage-deflate; client_max_window_bits=9", 9, True),
    (
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9;"
        " server_no_context_takeover; client_no_context_takeover",
        9,
        False,
    ),
    ("permessage-deflate; unknown=1, permessage-deflate", 15, True),
)


def _compression() -> Iterator[Case]:
    for offer, (extensions, bits, keeps) in enumerate(OFFERS, 1):
        for at, size in enumerate((16, 64, 256, KIB, 4 * KIB, 16 * KIB, 128 * KIB), 1):
            deflater = Deflater(bits, keeps)
            message = (b'{"Autobahn": "compressed", "number": 12345}' * (size // 43 + 1))[:size]
            writes = [
                frame(BINARY, deflater.payload(message + str(n).encode()), reserved=4)
                for n in range(20)
            ]
            yield Case(f"12.{offer}.{at}", writes, extensions)
        deflater = Deflater(bits, keeps)
        pieces = fragments(TEXT, deflater.payload(HELLO * 100), 50)
        # Only the first of a message's frames says that it is compressed.
        first = bytes([pieces[0][0] | 0x40]) + pieces[0][1:]
        yield Case(f"13.{offer}.1", [first, *pieces[1:]], extensions)
        yield Case(f"13.{offer}.2", [frame(TEXT, HELLO)], extensions)
        yield Case(f"13.{offer}.3", [frame(TEXT, b"\xff" * 64, reserved=4)], extensions, ends=True)
