"""Logs: one line an event, keyed by SOP Instance UID, without patient data."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from datetime import UTC, datetime
from typing import Literal

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the exception's type and place."""

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
    handler.setFormatter(JsonFormatter() if style == "json" else logging.Formatter(_TEXT))
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
