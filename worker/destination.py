"""Where results go: one PACS, in its own words of the settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dicom_node.instance import ObjectKind

AETitle = Annotated[str, Field(max_length=16, pattern=r"^ *[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*$")]
"""PS3.5 6.2: up to 16 characters of the default repertoire without backslash, not only spaces."""

PriorSearch = Literal["", "c-get", "c-move", "qido"]
"""How an archive is asked for our earlier reports; ``""``: not at all."""


class Destination(BaseModel):
    """One PACS that receives results, and in which form: by DIMSE, or by STOW-RS where ``url`` is set.

    Parameters
    ----------
    ae_title, host, port
        Where to call; ``AET@host:port`` in the short form.
    url : str
        Base URL of a DICOMweb service instead, such as ``https://pacs/dicom-web``.
    send : tuple of str
        What to send: ``sr`` and ``sc``, unless said otherwise; also ``gsps``, ``seg``, and ``map``, which
        not every result has and which therefore never goes alone.
    sr : str
        SOP class of the report: ``comprehensive``, ``comprehensive-3d``, ``enhanced``.
    capture : str
        Photometric form of the capture: ``rgb`` or ``monochrome``.
    timeout_s : float
        Seconds to wait for a connection or an answer.
    tls : bool
        Whether to call over TLS, with the node's own certificate; a URL says so itself.
    tls_ca : Path, optional
        Certificates that vouch for this destination; the node's ``tls_ca``, else the system's, unless set.
    commitment : bool
        Whether to ask for storage commitment (PS3.4 annex J).
    commitment_wait_s : float
        Seconds to keep the association open for an answer on it.
    commitment_timeout_s : float
        Seconds after which an unanswered request is made again.
    priors : str
        How to ask for our own earlier reports of a patient, so that a new one can say what has changed:
        ``c-get``, ``c-move`` (the PACS must know our node under its AE title), ``qido`` for a URL; not at
        all unless set.
    username, password_file, token_file
        What a web service wants to see; secrets stand in files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ae_title: AETitle | None = None
    host: str = ""
    port: int | None = Field(default=None, ge=1, le=65535)
    url: str = ""
    send: tuple[ObjectKind, ...] = ("sr", "sc")
    sr: Literal["comprehensive", "comprehensive-3d", "enhanced"] = "comprehensive"
    capture: Literal["rgb", "monochrome"] = "rgb"
    timeout_s: float = Field(default=30.0, gt=0)
    tls: bool = False
    tls_ca: Path | None = None
    commitment: bool = False
    commitment_wait_s: float = Field(default=0.5, ge=0)
    commitment_timeout_s: float = Field(default=3600.0, gt=0)
    priors: PriorSearch = ""
    username: str = ""
    password_file: Path | None = None
    token_file: Path | None = None

    @property
    def name(self) -> str:
        """``AET@host:port`` or the URL, the name under which the journal keeps deliveries."""
        return self.url or f"{self.ae_title}@{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Return the destination that ``AET@host:port`` or a URL names; IPv6 hosts stand in brackets."""
        if text.strip().startswith(("http://", "https://")):
            return cls(url=text.strip())
        match = re.fullmatch(r"\s*([^@]+)@(\[[^\]]+\]|[^:\[\]]+):(\d+)\s*", text)
        if match is None:
            raise ValueError(f"{text!r} is neither AET@host:port nor a URL")
        ae_title, host, port = match.groups()
        return cls(ae_title=ae_title, host=host.strip("[]"), port=int(port))

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if not self.send or len(set(self.send)) != len(self.send):
            raise ValueError("send names one or more of sr, sc, gsps, seg, map, each once")
        if self.send == ("map",):
            raise ValueError("send names map alone, which not every result has: add sr or sc")
        if self.url:
            self._check_web()
        elif not (self.ae_title and self.host and self.port):
            raise ValueError("needs ae_title, host and port, or url")
        elif self.username or self.password_file or self.token_file:
            raise ValueError("username, password_file and token_file are for a url")
        elif self.priors == "qido":
            raise ValueError("priors = qido is for a url: use c-get or c-move")
        return self

    def _check_web(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url is not http://… or https://…")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("url holds credentials or a query: use username, password_file or token_file")
        if self.ae_title or self.host or self.port or self.commitment or self.tls:
            raise ValueError("ae_title, host, port, tls and commitment do not go with a url")
        if self.priors not in ("", "qido"):
            raise ValueError("priors is qido for a url, or not set")
        if self.token_file and (self.username or self.password_file):
            raise ValueError("give token_file, or username and password_file, not both")
