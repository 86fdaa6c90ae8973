"""Logs: one line an event, keyed by SOP Instance UID, without patient data."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import Literal

_ExceptionInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class TextFormatter(logging.Formatter):
    """Lines for people; of an exception its type and way only: its text may quote a patient's name."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802 - the base class's name
        """Return the exception's type and where it passed through."""
        kind, _, trace = ei
        way = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in extract_tb(trace))
        return f"{kind.__name__ if kind else 'exception'} at {way}"


class JsonFormatter(TextFormatter):
    """One JSON object a line: time (UTC), level, logger, message, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(level: str, style: Literal["text", "json"]) -> None:
    """Send the worker's log lines to standard error.

    Parameters
    ----------
    level : str
        Name of the lowest level shown.
    style : {"text", "json"}
        For people, or for a log collector.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # These libraries quote attribute values in warnings, and a value may be a patient's name.
    for name in ("pydicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=name)
    # The node and the client say in one line of their own what these say in many.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    # It warns that the embedded broker has no host name.
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)
    for name in ("celery", "kombu", "amqp", "alembic"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
