"""WebSocket frames as a client sends them, right and wrong ones (RFC 6455, RFC 7692)."""

from __future__ import annotations

import struct
import zlib

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
# The same for every frame: what is sent must not depend on chance.
MASK = b"\x37\xfa\x21\x3d"


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0) -> bytes:
    """One masked frame; `reserved` are the three bits, RSV1 the highest."""
    first = (0x80 if final else 0) | reserved << 4 | opcode
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, length)
    return head + MASK + masked(payload)


def masked(payload: bytes) -> bytes:
    """The payload under the mask; the same again takes it off."""
    length = len(payload)
    key = (MASK * (length // 4 + 1))[:length]
    whole = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return whole.to_bytes(length, "big")


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A close frame; without a code it has no body."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def fragments(opcode: int, payload: bytes, size: int) -> list[bytes]:
    """A message in fragments of that many bytes."""
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    last = len(pieces) - 1
    return [
        frame(CONTINUATION if at else opcode, piece, final=at == last)
        for at, piece in enumerate(pieces)
    ]


class Messages:
    """Counts the whole data messages of a stream, masked or not."""

    def __init__(self) -> None:
        self.count = 0
        self._kept = bytearray()

    def feed(self, piece: bytes) -> None:
        """Takes what comes next."""
        self._kept += piece
        at = 0
        while (end := self._frame_end(at)) is not None:
            first = self._kept[at]
            self.count += first & 0x80 != 0 and first & 0x0F < CLOSE
            at = end
        del self._kept[:at]

    def _frame_end(self, at: int) -> int | None:
        """Where the frame that begins there ends; None if not all of it is here."""
        kept = self._kept
        if len(kept) < at + 2:
            return None
        length, body = kept[at + 1] & 0x7F, at + 2
        wide = {126: 2, 127: 8}.get(length, 0)
        if len(kept) < body + wide:
            return None
        if wide:
            length, body = int.from_bytes(kept[body : body + wide], "big"), body + wide
        end = body + (4 if kept[at + 1] & 0x80 else 0) + length
        return end if end <= len(kept) else None


class Deflater:
    """Compressed messages of one connection."""

    def __init__(self, bits: int = 15, keep_context: bool = True) -> None:
        self._bits = bits
        self._keep = keep_context
        self._state = self._new()

    def _new(self) -> zlib._Compress:
        return zlib.compressobj(wbits=-self._bits)

    def payload(self, message: bytes) -> bytes:
        """What a frame of it carries."""
        if not self._keep:
            self._state = self._new()
        compressed = self._state.compress(message) + self._state.flush(zlib.Z_SYNC_FLUSH)
        return compressed.removesuffix(b"\x00\x00\xff\xff")
