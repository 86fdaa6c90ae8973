"""Films that are meant to do harm: bombs, lies and broken structures, each built in memory.

Structures that no library writes are written here byte by byte: explicit VR little endian, where nothing
else is said.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache

import imagecodecs
import numpy as np
from pydicom import uid

MEBIBYTE = 1 << 20
UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC"})
SIDE_PX = 256


SOP_CLASS = b"1.2.840.10008.5.1.4.1.1.1.1"


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One element, with a length that may lie."""
    value += (b"\0" if vr in (b"UI", b"OB", b"UN") else b" ") * (len(value) % 2)
    length = len(value) if length is None else length
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHI", group, number, vr, 0, length) + value
    return struct.pack("<HH2sH", group, number, vr, length) + value


def item(content: bytes = b"", length: int | None = None) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content) if length is None else length) + content


SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def header(**changed: bytes | None) -> dict[str, bytes]:
    """The elements of a plain film by name; ``name=None`` leaves one out."""
    plain = {
        "sop_class": element(8, 0x16, b"UI", SOP_CLASS),
        "sop_instance": element(8, 0x18, b"UI", b"2.25.1001"),
        "modality": element(8, 0x60, b"CS", b"DX"),
        "patient_name": element(0x10, 0x10, b"PN", b"Doe^Hostile"),
        "patient_id": element(0x10, 0x20, b"LO", b"P-1"),
        "body_part": element(0x18, 0x15, b"CS", b"CHEST"),
        "study": element(0x20, 0x0D, b"UI", b"2.25.1002"),
        "series": element(0x20, 0x0E, b"UI", b"2.25.1003"),
        "orientation": element(0x20, 0x20, b"CS", b"L\\F"),
        "samples": element(0x28, 2, b"US", us(1)),
        "photometric": element(0x28, 4, b"CS", b"MONOCHROME2"),
        "frames": b"",
        "rows": element(0x28, 0x10, b"US", us(SIDE_PX)),
        "columns": element(0x28, 0x11, b"US", us(SIDE_PX)),
        "allocated": element(0x28, 0x100, b"US", us(16)),
        "stored": element(0x28, 0x101, b"US", us(12)),
        "high": element(0x28, 0x102, b"US", us(11)),
        "signed": element(0x28, 0x103, b"US", us(0)),
        "grey": b"",
        "further": b"",
    }
    unknown = set(changed) - set(plain)
    assert not unknown, unknown
    return plain | {name: value or b"" for name, value in changed.items()}


@cache
def pixels() -> np.ndarray:
    """Something like a chest: two dark lungs on a bright ground, 12 bit."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / SIDE_PX
    lungs = sum(np.exp(-(((x - middle) / 0.12) ** 2) - ((y - 0.5) / 0.25) ** 2) for middle in (0.3, 0.7))
    return np.asarray(3500 - 2500 * lungs, np.uint16)


def native() -> bytes:
    return element(0x7FE0, 0x10, b"OW", pixels().tobytes())


def encapsulated(*fragments: bytes, offsets: bytes = b"", end: bytes = SEQUENCE_END) -> bytes:
    content = item(offsets) + b"".join(item(one + b"\0" * (len(one) % 2)) for one in fragments) + end
    return element(0x7FE0, 0x10, b"OB", b"", UNDEFINED) + content


def file_of(data_set: bytes, syntax: str = uid.ExplicitVRLittleEndian, sop_class: bytes = SOP_CLASS) -> bytes:
    """A PS3.10 file as the node writes it around what arrived."""
    meta = element(2, 1, b"OB", b"\0\1") + element(2, 2, b"UI", sop_class)
    meta += element(2, 3, b"UI", b"2.25.1001") + element(2, 0x10, b"UI", syntax.encode())
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + data_set


def film(
    pixel_data: bytes | None = None, syntax: str = uid.ExplicitVRLittleEndian, **changed: bytes | None
) -> bytes:
    """A film with some elements changed."""
    pixel_data = native() if pixel_data is None else pixel_data
    return file_of(b"".join(header(**changed).values()) + pixel_data, syntax)


def sized(rows: int, columns: int) -> dict[str, bytes]:
    return {
        "rows": element(0x28, 0x10, b"US", us(rows)),
        "columns": element(0x28, 0x11, b"US", us(columns)),
    }


def deflated(data_set: bytes, then_zeros: int = 0) -> bytes:
    """A deflated data set that goes on with so many zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(data_set)
    for _ in range(then_zeros // MEBIBYTE):
        body += packer.compress(bytes(MEBIBYTE))
    return body + packer.flush()


def jpeg_header(marker: int, rows: int, columns: int, components: int, bits: int = 12) -> bytes:
    listed = b"".join(bytes([number, 0x11, 0]) for number in range(components))
    frame = struct.pack(">BHHB", bits, rows, columns, components) + listed
    return b"\xff\xd8\xff" + bytes([marker]) + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def jpeg2000_header(
    rows: int, columns: int, *, components: int = 1, tile: tuple[int, int] | None = None, layers: int = 1,
    levels: int = 5, code_block: int = 4, precinct: int | None = None,
) -> bytes:  # fmt: skip
    """A JPEG 2000 main header and one empty tile-part."""
    height, width = tile or (rows, columns)
    size = struct.pack(">HIIIIIIIIH", 0, columns, rows, 0, 0, width, height, 0, 0, components)
    size += bytes([11, 1, 1]) * components
    coding = bytes([0 if precinct is None else 1, 0]) + struct.pack(">HB", layers, 0)
    coding += bytes([levels, code_block, code_block, 0, 1])
    coding += b"" if precinct is None else bytes([precinct * 17]) * (levels + 1)
    quantisation = b"\x40" + bytes([0x48]) * (3 * levels + 1)
    segments = ((0x51, size), (0x52, coding), (0x5C, quantisation))
    main = b"".join(b"\xff" + bytes([code]) + struct.pack(">H", len(one) + 2) + one for code, one in segments)
    return (
        b"\xff\x4f"
        + main
        + b"\xff\x90\x00\x0a"
        + struct.pack(">HIBB", 0, 0, 0, 1)
        + b"\xff\x93"
        + bytes(64)
        + b"\xff\xd9"
    )


def compressed(frame: bytes, syntax: str, **changed: bytes | None) -> bytes:
    return film(encapsulated(frame), syntax, **changed)


def nested(depth: int, tag: tuple[int, int] = (0x9, 0x1001), length: int | None = UNDEFINED) -> bytes:
    """A sequence in a sequence in a sequence ..."""
    content = b""
    for _ in range(depth):
        if length == UNDEFINED:
            content = (
                element(*tag, b"SQ", b"", UNDEFINED) + item(content, UNDEFINED) + ITEM_END + SEQUENCE_END
            )
        else:
            content = element(*tag, b"SQ", item(content))
    return content


def _rle(header_words: list[int], body: bytes = b"") -> bytes:
    return struct.pack("<16I", *header_words, *[0] * (16 - len(header_words))) + body


def _palette(descriptor: bytes, data: bytes) -> bytes:
    tables = b"".join(element(0x28, 0x1101 + n, b"US", descriptor) for n in range(3))
    return tables + b"".join(element(0x28, 0x1201 + n, b"OW", data) for n in range(3))


def _lut(descriptor: bytes, data: bytes) -> bytes:
    lut = element(0x28, 0x3002, b"US", descriptor) + element(0x28, 0x3006, b"OW", data)
    return element(0x28, 0x3010, b"SQ", item(lut))


def _jpeg(**options: object) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels(), **options))


LARGE = sized(8192, 8192)
EIGHT_BIT = {
    "allocated": element(0x28, 0x100, b"US", us(8)),
    "stored": element(0x28, 0x101, b"US", us(8)),
    "high": element(0x28, 0x102, b"US", us(7)),
}
PALETTE = EIGHT_BIT | {"photometric": element(0x28, 4, b"CS", b"PALETTE COLOR")}
_8BIT_PIXELS = element(0x7FE0, 0x10, b"OB", bytes(SIDE_PX * SIDE_PX))
_PLAIN = b"".join(header().values())
_WINDOW = b"\\".join([b"1"] * 30000)

REFUSED: dict[str, Callable[[], bytes]] = {
    # declared sizes
    "65535 x 65535 pixels announced": lambda: film(**sized(65535, 65535)),
    "8192 x 8192 announced, 128 kB there": lambda: film(**LARGE),
    "no rows": lambda: film(**sized(0, 256)),
    "2 billion frames": lambda: film(frames=element(0x28, 8, b"IS", b"2147483647")),
    "frames beyond any number": lambda: film(frames=element(0x28, 8, b"IS", b"9" * 400), **sized(0, 0)),
    "32767 bits a pixel": lambda: film(allocated=element(0x28, 0x100, b"US", us(32767))),
    "three samples announced, one there": lambda: film(samples=element(0x28, 2, b"US", us(3))),
    "rows that are a sequence": lambda: film(rows=element(0x28, 0x10, b"SQ", item() * 100_000)),
    "pixel data that is a sequence": lambda: film(element(0x7FE0, 0x10, b"SQ", item() * 1_000_000)),
    # deflated
    "400 MiB of zeros, deflated": lambda: film_deflated(_PLAIN, 400 * MEBIBYTE),
    "200 MiB of zeros, deflated, no preamble": lambda: film_deflated(_PLAIN, 200 * MEBIBYTE)[132:],
    "a deflated stream that is none": lambda: file_of(b"\xff" * 999, uid.DeflatedExplicitVRLittleEndian),
    "syntax told twice, deflated the second time": lambda: film(
        further=b"", sop_class=element(2, 0x10, b"UI", uid.DeflatedExplicitVRLittleEndian.encode())
    ),
    # codestreams
    "RLE: 8192 x 8192 from 66 bytes": lambda: compressed(
        _rle([2, 64, 66], b"\x81\0\x81\0"), uid.RLELossless, **LARGE
    ),
    "RLE: 4 billion segments": lambda: compressed(_rle([0xFFFFFFFF]), uid.RLELossless),
    "RLE: segments outside the frame": lambda: compressed(
        _rle([2, 64, 0xFFFFFFF0], bytes(4000)), uid.RLELossless
    ),
    "RLE: segments that run backwards": lambda: compressed(_rle([2, 4000, 64], bytes(9000)), uid.RLELossless),
    "JPEG: 65500 x 65500 inside": lambda: compressed(
        jpeg_header(0xC1, 65500, 65500, 1), uid.JPEGExtended12Bit
    ),
    "JPEG: 255 components": lambda: compressed(
        jpeg_header(0xC1, 8192, 8192, 255), uid.JPEGExtended12Bit, **LARGE
    ),
    "JPEG: progressive": lambda: compressed(jpeg_header(0xC2, 256, 256, 1), uid.JPEGExtended12Bit),
    "JPEG: 30000 scans": lambda: compressed(
        _jpeg(level=90, bitspersample=12)[:-2]
        + b"\xff\xda\x00\x08\x01\x00\x00\x00\x3f\x00" * 30_000
        + b"\xff\xd9",
        uid.JPEGExtended12Bit,
    ),
    "JPEG-LS: 255 components": lambda: compressed(
        jpeg_header(0xF7, 8192, 8192, 255), uid.JPEGLSLossless, **LARGE
    ),
    "JPEG 2000: 2^31 pixels wide": lambda: compressed(jpeg2000_header(256, 0x7FFFFFFF), uid.JPEG2000),
    "JPEG 2000: 16384 components": lambda: compressed(
        jpeg2000_header(8192, 8192, components=16384), uid.JPEG2000, **LARGE
    ),
    "JPEG 2000: tiles of one pixel": lambda: compressed(jpeg2000_header(256, 256, tile=(1, 1)), uid.JPEG2000),
    "JPEG 2000: precincts of one pixel": lambda: compressed(
        jpeg2000_header(8192, 8192, precinct=0, levels=0), uid.JPEG2000, **LARGE
    ),
    "JPEG 2000: 65535 layers": lambda: compressed(
        jpeg2000_header(8192, 8192, layers=65535, precinct=7), uid.JPEG2000, **LARGE
    ),
    "JPEG 2000: 33 levels": lambda: compressed(jpeg2000_header(256, 256, levels=33), uid.JPEG2000Lossless),
    "HTJ2K: tiles of one pixel": lambda: compressed(
        jpeg2000_header(256, 256, tile=(1, 1)), uid.HTJ2KLossless
    ),
    "HTJ2K: 16384 components": lambda: compressed(jpeg2000_header(256, 256, components=16384), uid.HTJ2K),
    # fragments
    "fragments with lying lengths": lambda: film(
        encapsulated(end=item(b"\xff\xd8", 0x7FFFFFF0)), uid.JPEGLosslessSV1
    ),
    "a million empty fragments": lambda: film(encapsulated(*[b""] * 1_000_000), uid.JPEGLosslessSV1),
    "an offset table of 100 MB announced": lambda: film(
        element(0x7FE0, 0x10, b"OB", b"", UNDEFINED) + item(b"", 100 * MEBIBYTE), uid.JPEGLosslessSV1
    ),
    "no fragment at all": lambda: film(encapsulated(), uid.JPEG2000Lossless),
    "pixel data that never ends": lambda: film(
        element(0x7FE0, 0x10, b"OB", b"", UNDEFINED) + item(b"\xff\xd8" * 99, UNDEFINED), uid.JPEGLosslessSV1
    ),
    # structure
    "10000 sequences deep": lambda: film(grey=nested(10_000)),
    "10000 public sequences deep": lambda: film(grey=nested(10_000, (0x28, 0x3010))),
    "two million items": lambda: film(
        grey=element(0x28, 0x3010, b"SQ", item() * 2_000_000 + SEQUENCE_END, UNDEFINED)
    ),
    "two million elements": lambda: film(
        grey=b"".join(element(0x29, n, b"OB", b"") for n in range(65536)) * 30
    ),
    "a sequence that never ends": lambda: film(grey=element(0x28, 0x3010, b"SQ", item(), UNDEFINED)),
    "an element twice": lambda: film(further=element(0x28, 0x10, b"US", us(8192))),
    "a second SOP Instance UID": lambda: film(further=element(8, 0x18, b"UI", b"2.25.9")),
    "length 0xFFFFFFFE": lambda: film(sop_instance=element(8, 0x18, b"UN", b"2.25.1001", 0xFFFFFFFE)),
    "no SOP Instance UID": lambda: film(sop_instance=None),
    "a path as SOP Instance UID": lambda: film(sop_instance=element(8, 0x18, b"UI", b"../../etc/passwd")),
    "a SOP Instance UID of 3000 digits": lambda: film(
        sop_instance=element(8, 0x18, b"UI", b"1." * 1500 + b"1")
    ),
    "big endian in truth": lambda: film(syntax=uid.ExplicitVRBigEndian),
    "one endless value": lambda: film(patient_name=element(0x10, 0x10, b"UT", b"", 0x7FFFFFFF)),
    "200 MiB of header": lambda: film(grey=element(0x29, 0x1010, b"OB", bytes(200 * MEBIBYTE))),
    # palettes
    "a palette of no entries": lambda: film(
        _8BIT_PIXELS, grey=_palette(us(0) + us(0) + us(64), b"\0\0"), **PALETTE
    ),
    "a palette that is not there": lambda: film(_8BIT_PIXELS, **PALETTE),
    "a palette with nonsense bits": lambda: film(
        _8BIT_PIXELS, grey=_palette(us(4) + us(65535) + us(65535), b"\0\0"), **PALETTE
    ),
}
"""Each must end in a coded refusal."""

HARMLESS: dict[str, Callable[[], bytes]] = {
    "a plain film": film,
    "10 MB of patient's name": lambda: film(patient_name=element(0x10, 0x10, b"UN", b"A^B=" * 2_500_000)),
    "a patient's name of control characters": lambda: film(
        patient_name=element(0x10, 0x10, b"PN", b"\n\r\0\x1b[2J^\x7f")
    ),
    "an unknown character set": lambda: film(
        modality=element(8, 5, b"CS", b"ISO_IR 999\\\\../x") + header()["modality"]
    ),
    "30000 window centres": lambda: film(
        grey=element(0x28, 0x1050, b"DS", _WINDOW) + element(0x28, 0x1051, b"DS", _WINDOW)
    ),
    "a window that is no number": lambda: film(
        grey=element(0x28, 0x1050, b"DS", b"NaN") + element(0x28, 0x1051, b"DS", b"-Inf")
    ),
    "a rescale beyond any number": lambda: film(
        grey=element(0x28, 0x1052, b"DS", b"1e400") + element(0x28, 0x1053, b"DS", b"1e-320")
    ),
    "a pixel spacing that is no number": lambda: film(orientation=element(0x18, 0x1164, b"DS", b"NaN\\Inf")),
    "a LUT of 65535 bits": lambda: film(grey=_lut(us(16) + us(0) + us(65535), bytes(32))),
    "a LUT that announces more than it holds": lambda: film(grey=_lut(us(65535) + us(0) + us(12), bytes(32))),
    "a LUT that is a sequence": lambda: film(
        grey=element(0x28, 0x3010, b"SQ", item(element(0x28, 0x3006, b"SQ", item() * 100_000)))
    ),
    "two million items of defined length": lambda: film(
        grey=element(0x28, 0x3010, b"SQ", item() * 2_000_000)
    ),
    "10000 sequences of defined length deep": lambda: film(grey=nested(10_000, length=None)),
    "30000 private elements": lambda: film(
        further=b"".join(
            element(0x29 + 2 * (n >> 15), 0x1000 + (n & 0x7FFF), b"LO", b"x") for n in range(30_000)
        )
    ),
    "command elements inside": lambda: film(further=element(0, 0x100, b"US", us(1))),
    "an offset table that lies": lambda: film(
        encapsulated(_jpeg(lossless=True, predictor=1, bitspersample=12), offsets=b"\xff\xff\xff\x7f" * 4),
        uid.JPEGLosslessSV1,
    ),
    "a frame in 5000 fragments": lambda: film(
        encapsulated(*_pieces(bytes(imagecodecs.jpegls_encode(pixels())), 5000)), uid.JPEGLSLossless
    ),
    "a header after its pixels": lambda: file_of(native() + _PLAIN),
    "bits stored beyond those allocated": lambda: film(
        stored=element(0x28, 0x101, b"US", us(65535)), high=element(0x28, 0x102, b"US", us(65535))
    ),
    "padding beyond every value": lambda: film(further=element(0x28, 0x120, b"US", us(65535))),
}
"""Odd, but a film all the same: each must give a radiograph, quickly and in little memory."""


def _pieces(content: bytes, count: int) -> list[bytes]:
    step = max(2, len(content) // count & ~1)
    return [content[at : at + step] for at in range(0, len(content), step)]


def film_deflated(data_set: bytes, zeros: int) -> bytes:
    filler = element(0x29, 0x1010, b"OB", b"", zeros)
    return file_of(deflated(data_set + filler, zeros), uid.DeflatedExplicitVRLittleEndian)
