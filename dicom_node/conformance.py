"""The DICOM conformance statement (PS3.2 annex N), written from the tables that the code itself goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dicom_node.instance import ObjectKind
from dicom_node.report_settings import CaptureKind, SrClass


@dataclass(frozen=True)
class DestinationDescription:
    """One destination as the statement tells it; no secret, no path.

    Parameters
    ----------
    name : str
        ``AET@host:port`` or URL.
    web : bool
        By STOW-RS; by C-STORE otherwise.
    objects : sequence of str
        Kinds of objects sent.
    sr_class, capture : str
        Form of report and capture.
    tls, commitment : bool
        Whether it is called over TLS, and asked for storage commitment.
    prior_search : str
        How it is searched for earlier reports: ``c-get``, ``c-move``, ``web``, or ``""`` for not at all.
    """

    name: str
    web: bool = False
    objects: Sequence[ObjectKind] = ("sr", "sc")
    sr_class: SrClass = "comprehensive"
    capture: CaptureKind = "rgb"
    tls: bool = False
    commitment: bool = False
    prior_search: Literal["", "c-get", "c-move", "web"] = ""


@dataclass(frozen=True)
class NodeDescription:
    """The running configuration as far as a peer can notice it; the defaults are those of the settings.

    Parameters
    ----------
    version : str
        Of this software.
    ae_title, host, port
        The node's own.
    calling_ae_titles, addresses : sequence of str
        Who may call; ``("*",)`` is everyone. Addresses empty: all.
    require_called_ae_title : bool
        Whether callers must address the node by its own AE title.
    maximum_associations, maximum_instance_mb : int
        Limits of the node.
    tls, client_certificate : bool
        Whether the node speaks TLS, and wants to see a certificate.
    language : str
        Of the reports' texts (RFC 5646).
    grade_severity : bool
        Whether totals are graded.
    destinations : sequence of DestinationDescription
        Where results go.
    """

    version: str
    ae_title: str = "CXRWORKER"
    host: str = "127.0.0.1"
    port: int = 11112
    calling_ae_titles: Sequence[str] = ("*",)
    addresses: Sequence[str] = ()
    require_called_ae_title: bool = False
    maximum_associations: int = 25
    maximum_instance_mb: int = 512
    tls: bool = False
    client_certificate: bool = True
    language: str = "en-US"
    grade_severity: bool = False
    destinations: Sequence[DestinationDescription] = ()


def conformance_statement(node: NodeDescription) -> str:
    """Return the conformance statement of a configuration as Markdown; it never holds a secret."""
    raise NotImplementedError
