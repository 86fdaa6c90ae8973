"""Transfer syntaxes in which this node can read a radiograph; free of decoders and numpy.

The listener offers exactly these, so that no sender delivers an image that cannot be opened
later. The order is the order of preference: uncompressed first, then lossless, then lossy.
"""

from __future__ import annotations

from pydicom import uid

UNCOMPRESSED: tuple[str, ...] = (
    str(uid.ExplicitVRLittleEndian),
    str(uid.ImplicitVRLittleEndian),
    str(uid.DeflatedExplicitVRLittleEndian),
    str(uid.ExplicitVRBigEndian),
)
"""PS3.5 A.1, A.2, A.5 and A.3 (retired, still met in old archives)."""

ENCAPSULATED: tuple[str, ...] = (
    str(uid.JPEGLosslessSV1),
    str(uid.JPEGLossless),
    str(uid.JPEGLSLossless),
    str(uid.JPEG2000Lossless),
    str(uid.HTJ2KLossless),
    str(uid.HTJ2KLosslessRPCL),
    str(uid.RLELossless),
    str(uid.JPEGLSNearLossless),
    str(uid.JPEG2000),
    str(uid.HTJ2K),
    str(uid.JPEGBaseline8Bit),
    str(uid.JPEGExtended12Bit),
)
"""PS3.5 A.4: every still-image compression that a radiograph may legally arrive in."""

TRANSFER_SYNTAXES: tuple[str, ...] = UNCOMPRESSED + ENCAPSULATED
