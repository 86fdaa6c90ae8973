"""The same radiograph under two names: perceptual hashes, and groups joined by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE, LOWEST = 64, 16
BITS = LOWEST * LOWEST - 1

NEAR_BITS = 48
"""Two films whose hashes differ in at most so many of 255 bits count as one radiograph.

Among the 574,056 pairs of the 1,072 films this project was built on, eight pairs are known copies (rescaled,
recompressed, with other marks): they differ in 6 to 50 bits, seven of them in 48 or fewer. The nearest pair
of two patients differs in 52, so a wider limit would join patients."""

_ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)
_ROWS_AT_ONCE = 32


def perceptual_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a hash that changes little when a film is rescaled, recompressed or brightened.

    The signs of the 255 lowest coefficients but the first of a 64 x 64 cosine transform, against their median
    (Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"; 16 x 16 in place of
    8 x 8 coefficients, since all chest films share the coarse ones).

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, (rows, columns).

    Returns
    -------
    numpy.ndarray
        uint8, (32,): 256 bits, the last one 0.
    """
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    lowest = np.asarray(cv2.dct(small), np.float32)[:LOWEST, :LOWEST].ravel()[1:]
    return np.packbits(np.append(lowest > np.median(lowest), False))


def near_pairs(hashes: NDArray[np.uint8], most_bits: int = NEAR_BITS) -> list[tuple[int, int]]:
    """Return the pairs of rows whose hashes differ in at most ``most_bits`` bits.

    Parameters
    ----------
    hashes : numpy.ndarray
        uint8, (films, 32).
    most_bits : int
        The limit.

    Returns
    -------
    list of tuple of int
        Row numbers, the lower first.
    """
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(hashes), _ROWS_AT_ONCE):
        block = hashes[start : start + _ROWS_AT_ONCE]
        differing = _ONES[block[:, None, :] ^ hashes[None, start:, :]].sum(axis=2, dtype=np.uint16)
        first, second = np.nonzero(differing <= most_bits)
        pairs += [(start + int(i), start + int(j)) for i, j in zip(first, second, strict=True) if i < j]
    return pairs


def join_groups(groups: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Join the patient groups of films that are the same radiograph, directly or through others.

    Parameters
    ----------
    groups : sequence of str
        One per film.
    pairs : sequence of tuple of int
        Films, by number, that belong together.

    Returns
    -------
    list of str
        One per film; a joined group bears the first name in alphabetical order.
    """
    leader = {name: name for name in groups}

    def led_by(name: str) -> str:
        while leader[name] != name:
            leader[name] = name = leader[leader[name]]
        return name

    for first, second in pairs:
        low, high = sorted((led_by(groups[first]), led_by(groups[second])))
        leader[high] = low
    return [led_by(name) for name in groups]


def near_films(
    hashes: Mapping[str, NDArray[np.uint8]], names: Sequence[str], most_bits: int = NEAR_BITS
) -> list[tuple[int, int]]:
    """Return the pairs of films, by number in ``names``, that are one radiograph.

    Films without a hash are in no pair.
    """
    known = [index for index, name in enumerate(names) if name in hashes]
    if len(known) < 2:
        return []
    pairs = near_pairs(np.stack([hashes[names[index]] for index in known]), most_bits)
    return [(known[i], known[j]) for i, j in pairs]
