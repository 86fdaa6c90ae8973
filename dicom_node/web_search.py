"""Questions to a DICOMweb server (QIDO-RS, PS3.18 10.6), and what its refusals mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient

from dicom_node.errors import AssociationFailed
from dicom_node.web_session import AnswerTooLong, RemoteWeb, reaching

ABOUT_THE_CALL = {
    401: "does not accept the credentials: check username and password, or the token",
    403: "does not let these credentials do this: allow it there",
    404: "has no DICOMweb service at this URL: check it",
    405: "does not offer this service at this URL: check it",
    406: "does not answer in JSON, as PS3.18 asks of it",
    407: "is behind a proxy that wants credentials: go round it",
    408: "was not sent everything in time: see the network",
    421: "is another server than the one that was named: check the URL",
    425: "wants to be called again later",
    429: "wants to be called less often",
}
"""HTTP statuses that say nothing of an instance."""


def search_client(session: requests.Session, remote: RemoteWeb) -> DICOMwebClient:
    """Return dicomweb-client, which searches, on a session of ours."""
    client = DICOMwebClient(remote.url.rstrip("/"), session=session, timeout=remote.timeout_s)
    # when to try again is the caller's to decide
    client.set_http_retry_params(retry=False)
    return client


@contextmanager
def asking(remote: RemoteWeb) -> Iterator[None]:
    """Turn a refusal, and an answer that is none, into words.

    Raises
    ------
    AssociationFailed
        If the block ends in either, or the server cannot be reached.
    """
    with reaching(remote):
        try:
            yield
        except requests.HTTPError as error:
            raise AssociationFailed(refusal(remote, status_of(error))) from None
        except (AnswerTooLong, ValueError, RecursionError):
            raise no_dicomweb(remote) from None


def no_dicomweb(remote: RemoteWeb) -> AssociationFailed:
    """Say that an answer is none of a DICOMweb server's."""
    return AssociationFailed(f"{remote} does not answer as a DICOMweb server: check the URL")


def refusal(remote: RemoteWeb, http_status: int) -> str:
    """Say why a server does not do what it was asked for, and what to do."""
    if 300 <= http_status < 400:
        why = "points to another URL: set it to that one, if it is the right one"
    else:
        why = ABOUT_THE_CALL.get(http_status, "cannot answer at present: see its log")
    return f"{remote} {why} (HTTP {http_status})"


def status_of(error: requests.HTTPError) -> int:
    """Return the HTTP status that an error is about; 0 where there was none."""
    return error.response.status_code if error.response is not None else 0


def values(item: Any, name: str) -> list[Any]:
    """Return an attribute's values in the DICOM JSON model (PS3.18 F.2.2); none where it is not that."""
    attribute = item.get(name) if isinstance(item, dict) else None
    found = attribute.get("Value") if isinstance(attribute, dict) else None
    return found if isinstance(found, list) else []
