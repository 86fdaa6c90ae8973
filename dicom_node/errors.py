"""Errors of the DICOM node; ``transient`` says whether trying again can help.

DicomNodeError
├── UndecodableInstance    the bytes cannot be understood as a data set          (C-STORE 0xC000)
├── InvalidInstance        UID malformed or contradicting the request            (C-STORE 0x0117)
├── MismatchedInstance     the data set does not match its SOP class             (C-STORE 0xA900)
├── NotEligible            not a frontal chest radiograph that could be scored   (REJECTED)
├── TLSUnusable            certificate, key or authority missing or unfit        (settings)
├── CommitmentRefused      no storage commitment offered, or the request refused
├── SearchRefused          no search or retrieval offered, or the request refused
└── AssociationFailed      the peer cannot be reached or broke off               (transient)
    └── AssociationRefused     it is there, and rejects us or our TLS            (transient)
"""

from enum import StrEnum


class DicomNodeError(Exception):
    """Something about an instance or a peer is wrong."""

    transient = False


class UndecodableInstance(DicomNodeError):
    """The bytes cannot be understood as a DICOM data set."""


class InvalidInstance(DicomNodeError):
    """A UID is malformed, or data set and request name different instances."""


class MismatchedInstance(DicomNodeError):
    """The data set's SOP class is not the one it was sent under."""


class NotEligibleReason(StrEnum):
    """Why an instance is not scored; the code that journal, status and page show."""

    OWN_RESULT = "own-result"
    NOT_A_RADIOGRAPH = "not-a-radiograph"
    NOT_A_CHEST = "not-a-chest"
    NOT_HUMAN = "not-human"
    LATERAL_VIEW = "lateral-view"
    MULTI_FRAME = "multi-frame"
    NO_PIXELS = "no-pixels"
    BROKEN_PIXELS = "broken-pixels"
    TOO_SMALL = "too-small"
    TOO_LARGE = "too-large"


class NotEligible(DicomNodeError):
    """The instance is not a frontal chest radiograph with usable pixels.

    Parameters
    ----------
    reason : NotEligibleReason
        The coded reason.
    message : str
        What was found and what to do, in words a technician understands; no patient data.
    """

    def __init__(self, reason: NotEligibleReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class AssociationFailed(DicomNodeError):
    """The peer cannot be reached, refused the association or broke it off."""

    transient = True


class AssociationRefused(AssociationFailed):
    """The peer is there: it rejected the association, or TLS with it came to nothing."""


class CommitmentRefused(DicomNodeError):
    """The peer does not offer storage commitment, or answered the request with a failure.

    Parameters
    ----------
    message : str
        Who refused and what to do; no patient data.
    status : int or None
        Status of the N-ACTION (PS3.7 10.1.4.1.10); None where the service was not negotiated. Processing
        failure and resource limitation are transient.
    """

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status
        self.transient = status in (0x0110, 0x0213)


class SearchRefused(DicomNodeError):
    """The archive does not offer search or retrieval, or answered with a failure; or nothing can be asked.

    Parameters
    ----------
    message : str
        Who refused and what to do; no patient data.
    status : int or None
        Status of the C-FIND, C-GET or C-MOVE (PS3.4 C.4); None where there was none. Out of resources
        (0xA7xx), processing failure and resource limitation are transient.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.transient = status in (0x0110, 0x0213) or 0xA700 <= (status or 0) <= 0xA7FF


class TLSUnusable(DicomNodeError):
    """A certificate, its key or the authority's certificate is missing or cannot be used."""
