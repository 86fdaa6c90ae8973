"""Changes that know what an element is: lying lengths, other VRs, elements twice, sequences in sequences."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

_LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
_SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"FD", b"IS", b"LO", b"PN", b"SS", b"UI", b"US"}
)
_VRS = sorted(_LONG_VRS | _SHORT_VRS)
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_VALUES = (
    b"",
    b"\\",
    b"\\" * 300,
    b"NaN\\-Inf ",
    b"1e308 ",
    b"-1e-320 ",
    b"\xff\xff",
    b"\x00\x00",
    b"\x01\x80\x02\x00",
    b"\x10\x00\x00\x00\x10\x00",
    b"0" * 70,
    b"../../etc/passwd",
    b"\x1b$B\x1b(B=\x1b",
    b"ISO 2022 IR 87\\ISO_IR 100",
    b"\n\r\0\x7f",
    b"A^" * 200,
    b"PALETTE COLOR ",
    b"YBR_FULL",
    b"MONOCHROME1 ",
    b"FOR PROCESSING",
    b"SIGMOID ",
    b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 20,
)
_GROUPS = (0, 2, 8, 0x10, 0x28, 0x7FE0, 0xFFFE)
_LENGTHS = (0, 1, 7, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)

Element = tuple[int, int, int]
"""Where an element, its value and the next element start."""


def data_set_start(content: bytes) -> int:
    """Where the file meta information says that it ends; 0 for bytes that have none."""
    if content[128:132] != b"DICM" or len(content) < 144:
        return 0
    return min(144 + int.from_bytes(content[140:144], "little"), len(content))


def elements(content: bytes, start: int) -> list[Element]:
    """The top-level elements of an explicit little endian data set, as far as they can be followed."""
    found = []
    while start + 8 <= len(content):
        long = content[start + 4 : start + 6] in _LONG_VRS
        value = start + (12 if long else 8)
        length = int.from_bytes(content[value - (4 if long else 2) : value], "little")
        end = len(content) if length == 0xFFFFFFFF else min(value + length, len(content))
        found.append((start, value, end))
        start = end
    return found


def mutate(content: bytes, maximum: int, seed: int, anyhow: Callable[[bytes, int], bytes]) -> bytes:
    """Return changed bytes: now and then by the fuzzer's own means (``anyhow``), else by element."""
    chance = random.Random(seed)
    start = data_set_start(content)
    if chance.random() < 0.1:
        return anyhow(content, maximum)
    head, body = content[:start], content[start:]
    if _DEFLATED in head:
        body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, maximum) if _inflates(body) else body
        body = _change(body, maximum, chance, anyhow)
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
    else:
        body = _change(body, maximum - len(head), chance, anyhow)
    return (head + body)[:maximum]


def _inflates(body: bytes) -> bool:
    try:
        zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, 1 << 16)
    except zlib.error:
        return False
    return True


def _change(body: bytes, maximum: int, chance: random.Random, anyhow: Callable[[bytes, int], bytes]) -> bytes:
    pixels = body.find(b"\xe0\x7f\x10\x00")
    if pixels > 0 and chance.random() < 0.4:
        frame = anyhow(body[pixels + 12 :], max(64, maximum - pixels - 12))
        return body[: pixels + 12] + frame
    found = elements(body, 0)
    if not found:
        return anyhow(body, maximum)
    start, value, end = chance.choice(found)
    element, content = body[start:end], body[value:end]
    if chance.random() < 0.4 and len(content) < maximum // 2:
        changed = _write(element[:4], element[4:6], anyhow(content, len(content) + 64))
    else:
        changed = _element(element, content, chance)
    return body[:start] + changed + body[end:]


def _element(element: bytes, content: bytes, chance: random.Random) -> bytes:
    tag, vr = element[:4], element[4:6]
    changed = (
        lambda: element + element,
        lambda: _write(tag, chance.choice(_VRS), content),
        lambda: _write(tag, vr, content, chance.choice(_LENGTHS)),
        lambda: _nested(tag, content, chance.choice((1, 3, 40, 400))),
        lambda: struct.pack("<HH", chance.choice(_GROUPS), chance.randrange(1 << 16)) + element[4:],
        lambda: _write(tag, b"SQ", b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content),
        lambda: _write(tag, vr, chance.choice(_VALUES) * chance.choice((1, 1, 1, 2, 30))),
    )
    return chance.choice(changed)()


def _nested(tag: bytes, content: bytes, depth: int) -> bytes:
    for _ in range(depth):
        content = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + _write(tag, b"SQ", content, 0xFFFFFFFF)
    return _write(tag, b"SQ", content, 0xFFFFFFFF)


def _write(tag: bytes, vr: bytes, content: bytes, length: int | None = None) -> bytes:
    length = len(content) if length is None else length
    if vr in _LONG_VRS:
        return tag + vr + b"\0\0" + struct.pack("<I", length & 0xFFFFFFFF) + content
    return tag + vr + struct.pack("<H", length & 0xFFFF) + content
