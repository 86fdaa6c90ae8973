"""What compressed frames say of themselves, read and bounded before a decoder takes memory for it.

A codestream states sizes of its own, and decoders believe them: more components, tiles, precincts or scans
than the header announces cost gigabytes or hours. Whatever exceeds what one radiograph needs is refused
here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from pydicom import uid

from dicom_node.errors import NotEligible, NotEligibleReason

MAX_DECODED_BYTES = 128 << 20
"""Largest decoded image: 8192 x 8192 at 16 bit, some four times a full-size detector."""
MAX_TILES = 4096
"""Tiles of a JPEG 2000 image; 8192 x 8192 in tiles of 128 x 128."""
MAX_CODE_BLOCKS = 1 << 20
"""Code-blocks of a JPEG 2000 image; 8192 x 8192 in blocks of 8 x 8."""
MAX_PRECINCTS = 1 << 18
"""Precincts of a JPEG 2000 image; 8192 x 8192 in precincts of 32 x 32, at all resolutions."""
MAX_PACKETS = 1 << 20
"""Packets of a JPEG 2000 image: precincts times layers times changes of progression."""

JPEG2000 = frozenset(
    {uid.JPEG2000, uid.JPEG2000Lossless, uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL}
)
JPEGLS = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})

# Sequential and lossless processes; a progressive one may pass over the image a thousand times.
_JPEG_FRAMES = frozenset({0xC0, 0xC1, 0xC3})
_JPEGLS_FRAMES = frozenset({0xF7})
_SOF_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SOS = b"\xff\xda"
_J2K_START = b"\xff\x4f\xff\x51"
_SIZ, _COD, _COC, _POC, _SOT, _SOD, _EOC = 0x51, 0x52, 0x53, 0x5F, 0x90, 0x93, 0xD9
_TILE_PART_STARTS = re.compile(rb"\xff\x90\x00\x0a")
_LONGEST_RUN = 128
"""Bytes that two bytes of RLE may stand for (PS3.5 G.3.1)."""


@dataclass(frozen=True)
class FrameSize:
    """What a codestream's own header announces."""

    rows: int
    columns: int
    samples: int
    bits: int

    @property
    def decoded_bytes(self) -> int:
        """Memory of the decoded frame."""
        return self.rows * self.columns * self.samples * (2 if self.bits > 8 else 1)


def broken(cause: str) -> NotEligible:
    """Return the error for pixel data that cannot be used, naming the cause."""
    return NotEligible(
        NotEligibleReason.BROKEN_PIXELS,
        f"The pixel data cannot be read: {cause}. Send the image again from the modality or archive.",
    )


def frame_size(frame: bytes, transfer_syntax: str) -> FrameSize:
    """Read size and depth from a JPEG, JPEG-LS or JPEG 2000 codestream's own header.

    Parameters
    ----------
    frame : bytes
        One compressed frame.
    transfer_syntax : str
        Transfer Syntax UID; not RLE, which has no size of its own.

    Returns
    -------
    FrameSize

    Raises
    ------
    NotEligible
        BROKEN_PIXELS: no frame header where one must be (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2,
        15444-1 A.5.1), or one that asks for more than a radiograph needs.
    """
    if transfer_syntax in JPEG2000:
        size = _jpeg2000_size(frame)
    else:
        size = _jpeg_size(frame, _JPEGLS_FRAMES if transfer_syntax in JPEGLS else _JPEG_FRAMES)
    if size.samples not in (1, 3) or not 1 <= size.bits <= 16 or min(size.rows, size.columns) < 1:
        raise broken(
            f"its codestream announces {size.columns} x {size.rows} pixels of {size.samples} components "
            f"with {size.bits} bits"
        )
    if size.decoded_bytes > MAX_DECODED_BYTES:
        raise broken(f"its codestream announces {size.decoded_bytes >> 20} MiB of pixels")
    return size


def require_rle_fits(frame: bytes, planes: int, pixels: int) -> None:
    """Check an RLE frame's header (PS3.5 G.5) before memory is taken for what it unpacks to.

    Parameters
    ----------
    frame : bytes
        One compressed frame.
    planes : int
        Bytes of one pixel, all samples together.
    pixels : int
        Pixels of the frame.

    Raises
    ------
    NotEligible
        BROKEN_PIXELS.
    """
    header = [int.from_bytes(frame[at : at + 4], "little") for at in range(0, 64, 4)]
    offsets = [*header[1 : planes + 1], len(frame)]
    if len(frame) < 64 or header[0] != planes or offsets[0] < 64 or offsets != sorted(offsets):
        raise broken("its RLE header does not fit the frame")
    least = 2 * -(-pixels // _LONGEST_RUN)
    if any(end - start < least for start, end in pairwise(offsets)):
        raise broken("its RLE segments are too short for the announced size")


def _jpeg_size(frame: bytes, allowed: frozenset[int]) -> FrameSize:
    for marker, at in _jpeg_segments(frame):
        if marker not in _SOF_MARKERS:
            continue
        if marker not in allowed:
            raise broken(f"its JPEG process (marker FF{marker:02X}) is not one of its transfer syntax")
        if len(frame) < at + 10:
            break
        size = FrameSize(
            rows=int.from_bytes(frame[at + 5 : at + 7], "big"),
            columns=int.from_bytes(frame[at + 7 : at + 9], "big"),
            samples=frame[at + 9],
            bits=frame[at + 4],
        )
        if frame.count(_SOS, at) > size.samples:
            raise broken("its codestream passes over the image again and again")
        return size
    raise broken("it holds no JPEG frame header")


def _jpeg_segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker up to the first scan with its position (ISO/IEC 10918-1 B.1.1)."""
    at = 2
    while frame.startswith(b"\xff\xd8") and 0 <= (at := frame.find(b"\xff", at)) < len(frame) - 3:
        marker = frame[at + 1]
        if marker in (0x00, 0xFF) or marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        yield marker, at
        if marker in (0xD9, 0xDA):
            return
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")


def _jpeg2000_size(frame: bytes) -> FrameSize:
    if not frame.startswith(_J2K_START) or len(frame) < 45:
        raise broken("it holds no JPEG 2000 codestream")
    right, lower, left, upper, tile_width, tile_height, tile_left, tile_top = (
        int.from_bytes(frame[at : at + 4], "big") for at in range(8, 40, 4)
    )
    samples = int.from_bytes(frame[40:42], "big")
    components = frame[42 : 42 + 3 * samples]
    size = FrameSize(lower - upper, right - left, samples, max((*components[::3], 0)) % 128 + 1)
    if any(step != 1 for step in components[1::3] + components[2::3]):
        raise broken("its codestream has components of several resolutions")
    if samples > 3 or not (tile_left <= left < tile_left + tile_width) or size.decoded_bytes < 1:
        raise broken("its JPEG 2000 codestream has no image area that could be a radiograph's")
    if not tile_top <= upper < tile_top + tile_height:
        raise broken("its JPEG 2000 codestream has no image area that could be a radiograph's")
    tiles = -(-(right - tile_left) // tile_width) * -(-(lower - tile_top) // tile_height)
    if tiles > MAX_TILES:
        raise broken(f"its codestream announces {tiles} tiles")
    tile = (min(tile_width, size.columns), min(tile_height, size.rows))
    _require_bounded_coding(frame, samples, tiles, tile)
    return size


def _require_bounded_coding(frame: bytes, samples: int, tiles: int, tile: tuple[int, int]) -> None:
    """Bound code-blocks and packets by every coding style in the main and tile-part headers."""
    layers, progressions, precincts, styles = 1, 1, 0, 0
    for marker, segment in _jpeg2000_segments(frame):
        if marker == _POC:
            progressions += max(1, len(segment) // 7)
        if marker not in (_COD, _COC):
            continue
        styles += 1
        start = 5 if marker == _COD else 2
        if marker == _COD and len(segment) >= start:
            layers = max(layers, int.from_bytes(segment[2:4], "big"))
        if len(segment) < start + 5:
            raise broken("its JPEG 2000 codestream states no complete coding style")
        scoding = segment[0] if marker == _COD else segment[1]
        precincts = max(precincts, _precincts(segment[start:], bool(scoding & 1), tile))
        width_exponent, height_exponent = segment[start + 1] + 2, segment[start + 2] + 2
        blocks = tiles * samples * tile[0] * tile[1] >> min(width_exponent + height_exponent, 12)
        if blocks > MAX_CODE_BLOCKS or styles > MAX_TILES:
            raise broken("its codestream falls into more blocks than a radiograph's")
    if not precincts:
        raise broken("its JPEG 2000 codestream states no coding style")
    precincts *= tiles * samples
    if precincts > MAX_PRECINCTS or precincts * layers * progressions > MAX_PACKETS:
        raise broken("its codestream falls into more packets than a radiograph's")


def _precincts(coding: bytes, stated: bool, tile: tuple[int, int]) -> int:
    """Return the precincts of one tile's component at all resolutions (ISO/IEC 15444-1 B.6)."""
    levels = min(coding[0], 32)
    count = 0
    for level in range(levels + 1):
        width, height = (-(-side >> (levels - level)) for side in tile)
        size = coding[5 + level] if stated and 5 + level < len(coding) else 0xFF
        count += max(1, -(-max(width, 1) >> (size & 15))) * max(1, -(-max(height, 1) >> (size >> 4)))
    return count


def _jpeg2000_segments(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker segments of the main header and of every tile-part header (ISO/IEC 15444-1 A.2)."""
    yield from _header_segments(frame, 2)
    for start in _TILE_PART_STARTS.finditer(frame):
        yield from _header_segments(frame, start.start() + 12)


def _header_segments(frame: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= len(frame) and frame[at] == 0xFF and frame[at + 1] not in (_SOT, _SOD, _EOC):
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        if length < 2:
            raise broken("a marker segment of its JPEG 2000 codestream has no length")
        yield frame[at + 1], frame[at + 4 : at + 2 + length]
        at += 2 + length
