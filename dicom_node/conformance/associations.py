"""What the conformance statement says alike of both application entities."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from dicom_node.conformance.markdown import Section, code, table
from dicom_node.conformance.node import NodeDescription

CONTEXT_HEADS = ("SOP class", "UID", "Role", "Transfer syntaxes")


def policies(node: NodeDescription, associations: str, asynchronous: str) -> Section:
    """Return what is said of associations in general."""
    return Section(
        "Association policies",
        table(
            ("Parameter", "Value"),
            [
                ("Application Context Name", code("1.2.840.10008.3.1.1.1")),
                ("AE title", code(node.ae_title)),
                ("Simultaneous associations", associations),
                ("Asynchronous operations", asynchronous),
                ("Implementation Class UID", code(PYNETDICOM_IMPLEMENTATION_UID)),
                ("Implementation Version Name", code(PYNETDICOM_IMPLEMENTATION_VERSION)),
                ("Transport", "TCP/IP, IPv4 and IPv6; TLS: see Security"),
            ],
        ),
    )


def names(syntaxes: Iterable[str]) -> str:
    """Return the names of transfer syntaxes."""
    return ", ".join(UID(syntax).name for syntax in syntaxes)


def hexadecimal(status: int) -> str:
    """Return a status as PS3.7 writes it."""
    return f"0x{status:04X}"
