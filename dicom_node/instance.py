"""Values that cross the DICOM node's border: an instance received, a report to send, how sending went."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from pydicom.uid import UID


@dataclass(frozen=True)
class ReceivedInstance:
    """One SOP instance as a sender delivered it.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid : str
        Identity as the data set states it, already checked against the request.
    calling_ae_title : str
        AE title of the sender.
    encoded : bytes
        The PS3.10 file: preamble, file meta information, and the data set exactly as received.
    received_at : datetime.datetime
        Aware, UTC.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    calling_ae_title: str
    encoded: bytes = field(repr=False)
    received_at: datetime


ObjectKind = Literal["sr", "sc", "gsps", "seg", "map"]
"""Structured Report, Secondary Capture, Grayscale Softcopy Presentation State, Segmentation; and a further
Secondary Capture, the map of what a score rests on, where its scorer explains it."""

OBJECT_KINDS: tuple[ObjectKind, ...] = get_args(ObjectKind)
"""In the order in which they are sent."""


@dataclass(frozen=True)
class Report:
    """The objects that answer one radiograph, as PS3.10 bytes by kind."""

    instances: Mapping[ObjectKind, bytes] = field(repr=False)


@dataclass(frozen=True)
class InstanceReference:
    """One SOP instance in its study, as other objects refer to it."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


def derive_uid(*parts: str) -> UID:
    """Return a UID that is the same whenever the parts are the same.

    Parameters
    ----------
    *parts : str
        What the identity depends on: source SOP Instance UID, algorithm digest, kind of object.

    Returns
    -------
    pydicom.uid.UID
        Under the root 2.25, from a name-based UUID (PS3.5 B.2; RFC 9562 version 5).
    """
    name = "\x1f".join(parts)
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, name).int}")


_NAMESPACE = uuid.UUID("6f1e3c52-3c0b-5d0e-9d43-4f6b9f5c7a10")
