"""Where peers call from, and what may be said of them in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

_MAPPED_BITS = 96  # the part of ::ffff:a.b.c.d that is not the IPv4 address (RFC 4291, 2.5.5.2)


class AddressList:
    """Addresses and networks; empty, it holds every address.

    Parameters
    ----------
    texts : iterable of str
        ``"10.0.0.5"``, ``"10.1.0.0/16"``, ``"fd00::/8"``; an IPv4 address may also be written, and
        also come in, as an IPv6 one (``"::ffff:10.0.0.5"``).

    Raises
    ------
    ValueError
        If one of them is neither address nor network.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._networks = tuple(_network(text.strip()) for text in texts)

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return True
        try:
            found = plain_address(address)
        except ValueError:
            return False
        return any(found.version == network.version and found in network for network in self._networks)


class OncePerMinute:
    """Says whether a log line is due, so that nobody can fill the log with it.

    Parameters
    ----------
    period_s : float
        Seconds between two lines with the same key.
    maximum_keys : int
        Different keys remembered, and so lines within one period.
    """

    def __init__(self, period_s: float = 60.0, maximum_keys: int = 256) -> None:
        self._period_s = period_s
        self._maximum_keys = maximum_keys
        self._said: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def is_due(self, *key: str) -> bool:
        """Return True once a period for each key, as long as there are not too many keys."""
        now = time.monotonic()
        with self._lock:
            if key not in self._said and len(self._said) >= self._maximum_keys:
                self._said = {
                    other: said for other, said in self._said.items() if now - said < self._period_s
                }
                if len(self._said) >= self._maximum_keys:
                    return False
            said = self._said.get(key)
            if said is not None and now - said < self._period_s:
                return False
            self._said[key] = now
        return True


def plain_address(text: str) -> IPv4Address | IPv6Address:
    """Return an address without its zone, an IPv4 one in IPv6 writing as the IPv4 address that it is.

    Raises
    ------
    ValueError
        If the text is no address.
    """
    address = ip_address(text.split("%", maxsplit=1)[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def printable(text: object, maximum: int = 64) -> str:
    """Return what a peer sent such that it can neither forge log lines nor flood them."""
    kept = "".join(letter if " " <= letter <= "~" else "?" for letter in str(text).strip())
    return kept if len(kept) <= maximum else f"{kept[:maximum]}..."


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is no address or network: write 10.0.0.5, 10.1.0.0/16 or fd00::/8"
        ) from None
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
