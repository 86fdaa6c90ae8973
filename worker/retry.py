"""When trying again helps, and when: decisions only, nothing is done here."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from dicom_node.storage_scu import StoreOutcome
from worker.entry import DeliveryStatus

_FIRST_DELAY_S = 2.0
_LONGEST_DELAY_S = 900.0
_JITTER = 0.2


def retry_at(attempts: int, now: datetime) -> datetime:
    """Return when to try again: 2 s after the first attempt, doubled each time, at most 15 minutes, ± 20 %.

    Parameters
    ----------
    attempts : int
        Attempts made, at least 1.
    now : datetime.datetime
        Aware.
    """
    delay_s = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** min(attempts - 1, 20))
    # Jitter keeps a thousand reports that failed together from coming back together.
    return now + timedelta(seconds=delay_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311


def judge_delivery(report: StoreOutcome, capture: StoreOutcome) -> tuple[DeliveryStatus, str]:
    """Decide what a destination's answers to a report and its capture amount to.

    Parameters
    ----------
    report, capture : StoreOutcome
        The answers.

    Returns
    -------
    DeliveryStatus
        STORED when both were taken, or when only the report was refused for good (the capture shows the
        result in any viewer); PENDING when trying again can help; FAILED otherwise.
    str
        The answers in words.
    """
    message = f"report {_words(report)}, capture {_words(capture)}"
    if any(outcome.transient and not outcome.succeeded for outcome in (report, capture)):
        return DeliveryStatus.PENDING, message
    if capture.succeeded:
        return DeliveryStatus.STORED, message
    return DeliveryStatus.FAILED, message


def _words(outcome: StoreOutcome) -> str:
    verb = "stored" if outcome.succeeded else "not stored"
    code = "" if outcome.status is None else f" 0x{outcome.status:04X}"
    told = outcome.comment or ("" if outcome.succeeded else "the destination's log says why")
    return f"{verb}{code} ({told})" if told else f"{verb}{code}"
