"""What the conformance statement is told of the running configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, get_args

from pydicom.uid import (
    UID,
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_node.instance import OBJECT_KINDS, ObjectKind
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
    priors : str
        How it is searched for earlier reports: ``c-get``, ``c-move``, ``qido``, or ``""`` for not at all.
    """

    name: str
    web: bool = False
    objects: Sequence[ObjectKind] = ("sr", "sc")
    sr_class: SrClass = "comprehensive"
    capture: CaptureKind = "rgb"
    tls: bool = False
    commitment: bool = False
    priors: Literal["", "c-get", "c-move", "qido"] = ""

    @property
    def sop_classes(self) -> tuple[UID, ...]:
        """What it is sent, each once."""
        sent = (created_sop_classes(kind, self.sr_class) for kind in self.objects)
        return tuple(dict.fromkeys(chain.from_iterable(sent)))


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
    algorithms : sequence of str
        What scores; each makes a report of its own.
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
    algorithms: Sequence[str] = ("two-stage",)

    @property
    def sent_sop_classes(self) -> tuple[UID, ...]:
        """What is sent in this configuration, each once."""
        return tuple(dict.fromkeys(chain.from_iterable(one.sop_classes for one in self.destinations)))

    @property
    def possible_sop_classes(self) -> tuple[UID, ...]:
        """What can be sent in any configuration, each once."""
        return tuple(dict.fromkeys(chain.from_iterable(map(possible_sop_classes_of, OBJECT_KINDS))))


def possible_sop_classes_of(kind: ObjectKind) -> tuple[UID, ...]:
    """Return the SOP classes of which objects of a kind can be in any configuration, each once."""
    possible = (created_sop_classes(kind, sr_class) for sr_class in get_args(SrClass))
    return tuple(dict.fromkeys(chain.from_iterable(possible)))


def created_sop_classes(kind: ObjectKind, sr_class: SrClass) -> tuple[UID, ...]:
    """Return the SOP classes of which an object of a kind may be; its image decides among several."""
    reports: dict[SrClass, UID] = {
        "comprehensive": ComprehensiveSRStorage,
        "comprehensive-3d": Comprehensive3DSRStorage,
        "enhanced": EnhancedSRStorage,
    }
    created: dict[ObjectKind, tuple[UID, ...]] = {
        "sr": (reports[sr_class],),
        "sc": (SecondaryCaptureImageStorage,),
        "gsps": (GrayscaleSoftcopyPresentationStateStorage, ColorSoftcopyPresentationStateStorage),
        "seg": (SegmentationStorage,),
        "map": (SecondaryCaptureImageStorage,),
    }
    return created[kind]
