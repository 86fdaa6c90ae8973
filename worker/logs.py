"""Logs: one line an event, without patient data, and without a line that a sender wrote himself."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import warnings
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import Literal, TextIO

_ExceptionInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

OURS = ("worker", "dicom_node", "models", "training")
"""Loggers that show their lines from the set level on; every library's show theirs from WARNING on."""
_QUOTING = frozenset({"pydicom", "highdicom", "pynetdicom", "py"})
"""Loggers that quote attribute values, which may be a patient's name; we say it in words of our own.

Celery sends every warning to the logger ``py.warnings``.
"""
LONGEST_MESSAGE = 4000
"""Characters of one message that are kept."""

# Control characters, line separators of Unicode, and marks that turn the direction of writing.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

logger = logging.getLogger(__name__)


def one_line(text: str) -> str:
    r"""Return a text as one line: control characters as ``\x0a``, cut where it is too long.

    Parameters
    ----------
    text : str
        May hold what a stranger wrote: an AE title, a PACS's comment.
    """
    shown = text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} …"
    return _UNPRINTABLE.sub(_escaped, shown)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class TextFormatter(logging.Formatter):
    """Lines for people; of an exception its type and way only: its text may quote a patient's name."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        time = self.formatTime(record)
        line = f"{time} {record.levelname:<7} {record.name}: {one_line(record.getMessage())}"
        return f"{line} ({self.formatException(record.exc_info)})" if record.exc_info else line

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
            "message": one_line(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(level: str, style: Literal["text", "json"]) -> None:
    """Send the worker's log lines to standard error, and keep every library's quotations out of them.

    Parameters
    ----------
    level : str
        Name of the lowest level shown.
    style : {"text", "json"}
        For people, or for a log collector.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    # Celery sets the root logger's level once more, pydicom its own when imported: the handler decides.
    handler.addFilter(_is_shown)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # A line whose arguments do not fit its format would be printed with its arguments.
    logging.raiseExceptions = False
    # They work out their lines whenever their level is low enough, shown or not.
    for name in _QUOTING:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # It warns that the embedded broker has no host name.
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)
    # They work out their lines whenever their level is low enough, shown or not.
    for name in (
        "celery",
        "kombu",
        "amqp",
        "alembic",
        "sqlalchemy",
        "botocore",
        "urllib3",
        "dicomweb_client",
    ):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    warnings.showwarning = _note_warning
    sys.excepthook = _note_uncaught
    threading.excepthook = lambda thread: _note_uncaught(
        thread.exc_type, thread.exc_value or thread.exc_type(), thread.exc_traceback
    )
    sys.unraisablehook = lambda report: logger.warning(
        "ignored %s%s", report.exc_type.__name__, _place(report.exc_traceback)
    )


def _is_shown(record: logging.LogRecord) -> bool:
    library = record.name.split(".", maxsplit=1)[0]
    return library in OURS or (library not in _QUOTING and record.levelno >= logging.WARNING)


def _note_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Note a library's warning by kind and place; its text may quote an attribute."""
    logger.debug("%s at %s:%d", category.__name__, Path(filename).name, lineno)


def _note_uncaught(kind: type[BaseException], _error: BaseException, trace: TracebackType | None) -> None:
    """Note by kind and place what nobody caught; Python would print its text."""
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    logger.critical("unexpected %s%s", kind.__name__, _place(trace))


def _place(trace: TracebackType | None) -> str:
    frames = extract_tb(trace)
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
