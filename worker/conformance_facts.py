"""The running configuration in the words of the conformance statement."""

from __future__ import annotations

from importlib.metadata import version

from dicom_node.conformance import DestinationDescription, NodeDescription
from worker.destination import Destination
from worker.settings import Settings


def describe(settings: Settings) -> NodeDescription:
    """Return what a peer can notice of a configuration; credentials and paths are left out."""
    return NodeDescription(
        version=version("cxr-severity-worker"),
        ae_title=settings.ae_title,
        host=settings.host,
        port=settings.port,
        calling_ae_titles=settings.calling_ae_titles,
        addresses=settings.allowed_addresses,
        require_called_ae_title=settings.require_called_ae_title,
        maximum_associations=settings.maximum_associations,
        maximum_instance_mb=settings.maximum_instance_mb,
        tls=settings.tls_certificate is not None,
        client_certificate=settings.tls_require_client_certificate,
        language=settings.language,
        grade_severity=settings.grade_severity,
        algorithms=settings.algorithms,
        destinations=tuple(map(_describe, settings.destinations)),
    )


def _describe(destination: Destination) -> DestinationDescription:
    return DestinationDescription(
        name=destination.name,
        web=bool(destination.url),
        objects=destination.send,
        sr_class=destination.sr,
        capture=destination.capture,
        tls=destination.tls or destination.url.startswith("https://"),
        commitment=destination.commitment,
        priors=destination.priors,
    )
