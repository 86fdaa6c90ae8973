"""How the node presents itself, whom it serves, and what one caller may use of it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True)
class NodeSettings:
    """How the node presents itself and whom it serves.

    Parameters
    ----------
    ae_title : str
        The node's AE title.
    host, port : str, int
        Where it listens; port 0 takes any free one, ``StorageSCP.port`` tells which.
    allowed_calling_ae_titles : tuple of str
        Who may open an association; ``("*",)`` is everyone, ``()`` nobody.
    allowed_addresses : tuple of str
        IPv4 and IPv6 addresses and networks that may connect; ``()`` is all.
    tls : ssl.SSLContext or None
        With it, the node speaks TLS and nothing else (``dicom_node.tls.server_context``).
    require_called_ae_title : bool
        Whether callers must address the node by its own AE title.
    maximum_associations : int
        Associations served at the same time.
    maximum_instance_bytes : int
        Largest request that is taken in.
    maximum_buffered_bytes : int
        Memory for requests that have arrived, or begun to, and are not answered, in all associations
        together; each byte counts twice, for it is copied once. One instance of the largest size is
        taken in any case.
    association_timeout_s : float
        Seconds a caller may take from opening the connection, TLS included, to requesting an association.
    network_timeout_s : float
        Seconds an association may stay silent.
    slow_request_s : float
        Seconds after which a request under way must have reached 1 kB/s on average.
    idle_s : float
        Seconds without a request after which an association may have to make room for a new caller,
        when all are in use.
    shutdown_grace_s : float
        Seconds that running associations get to finish when the node stops.
    """

    ae_title: str = "CXRWORKER"
    host: str = "127.0.0.1"
    port: int = 11112
    allowed_calling_ae_titles: tuple[str, ...] = ()
    allowed_addresses: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    require_called_ae_title: bool = False
    maximum_associations: int = 25
    maximum_instance_bytes: int = 512 * 1024 * 1024
    maximum_buffered_bytes: int = 2 * 1024 * 1024 * 1024
    association_timeout_s: float = 10.0
    network_timeout_s: float = 60.0
    slow_request_s: float = 30.0
    idle_s: float = 5.0
    shutdown_grace_s: float = 10.0
