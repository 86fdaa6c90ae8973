"""An archive asked over the web: QIDO-RS (PS3.18 10.6) and WADO-RS (PS3.18 10.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from pydicom.datadict import tag_for_keyword

from dicom_node.errors import SearchRefused
from dicom_node.query_retrieve import MAXIMUM_ANSWERS, MAXIMUM_REPORT_BYTES, Answer, Level
from dicom_node.web_search import asking, no_dicomweb, search_client, status_of, values
from dicom_node.web_session import RemoteWeb, open_session

_NOT_OFFERED = (400, 405, 406, 501)
_GONE = (404, 410)
_ABOVE: Mapping[Level, Sequence[str]] = {
    "STUDY": (),
    "SERIES": ("StudyInstanceUID",),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID"),
}
"""Keys that are part of the path."""
_BOUNDARY = re.compile(r';\s*boundary="?([^";]{1,70})"?', re.IGNORECASE)  # RFC 2046, 5.1.1


@contextmanager
def open_web_archive(remote: RemoteWeb, within_s: float) -> Iterator[WebArchive]:
    """Open a session with a DICOMweb server to search it and to fetch from it.

    Raises
    ------
    AssociationFailed
        If a certificate file cannot be used.
    """
    with open_session(remote, MAXIMUM_REPORT_BYTES, within_s) as session:
        yield WebArchive(session, remote)


class WebArchive:
    """One session with a server, and the two questions that it is asked."""

    def __init__(self, session: requests.Session, remote: RemoteWeb) -> None:
        self._session = session
        self._remote = remote

    def find(self, level: Level, keys: Mapping[str, str]) -> list[Answer]:
        """Ask one question (QIDO-RS); parameters and answers as of ``QueryRetrieve.find``.

        At SERIES and IMAGE level, the UIDs of what lies above are part of the resource's path.
        """
        client = search_client(self._session, self._remote)
        study_uid, series_uid = keys.get("StudyInstanceUID", ""), keys.get("SeriesInstanceUID", "")
        matched = {name: value for name, value in keys.items() if value and name not in _ABOVE[level]}
        options: dict[str, Any] = {"search_filters": matched, "fields": list(keys), "limit": MAXIMUM_ANSWERS}
        with asking(self._remote), self._offered("search (QIDO-RS)"):
            match level:
                case "STUDY":
                    found = client.search_for_studies(**options)
                case "SERIES":
                    found = client.search_for_series(study_uid, **options)
                case "IMAGE":
                    found = client.search_for_instances(study_uid, series_uid, **options)
            if not isinstance(found, list):
                raise no_dicomweb(self._remote)
            return [_read(item, keys) for item in found[:MAXIMUM_ANSWERS]]

    def get(self, study_uid: str, series_uid: str, uid: str) -> bytes | None:
        """Fetch one instance (WADO-RS) as the server has it; None where it has it no more."""
        url = f"{self._remote.url.rstrip('/')}/studies/{study_uid}/series/{series_uid}/instances/{uid}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        with asking(self._remote), self._offered("retrieval (WADO-RS)"):
            response = self._session.get(url, headers={"Accept": accept})
            if response.status_code in _GONE:
                return None
            response.raise_for_status()
            return _first_part(response.headers.get("Content-Type", ""), response.content)

    @contextmanager
    def _offered(self, what: str) -> Iterator[None]:
        try:
            yield
        except requests.HTTPError as error:
            if status_of(error) not in _NOT_OFFERED:
                raise
            raise SearchRefused(
                f"{self._remote} does not offer {what} (HTTP {status_of(error)}): switch it on there, "
                "or off here"
            ) from None


def _read(item: object, keys: Mapping[str, str]) -> Answer:
    return {
        keyword: "\\".join(
            str(value).strip()
            for value in values(item, f"{tag_for_keyword(keyword):08X}")
            if value is not None
        )
        for keyword in keys
    }


def _first_part(content_type: str, body: bytes) -> bytes:
    """Return the first part of a multipart body (RFC 2046, 5.1), or the body where it is none."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        return body
    _, separator, rest = body.partition(b"\r\n\r\n")
    delimiter = b"\r\n--" + boundary[1].encode()
    part, end, _ = rest.partition(delimiter)
    return part if separator and end else b""
