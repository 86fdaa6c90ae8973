"""When trying again helps, and when: decisions only, nothing is done here."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta

from dicom_node.storage_scu import StoreOutcome
from worker.entry import DeliveryStatus, Settlement

_FIRST_DELAY_S = 2.0
_LONGEST_DELAY_S = 900.0
_JITTER = 0.2


def retry_at(attempts: int, now: datetime, longest_s: float = _LONGEST_DELAY_S) -> datetime:
    """Return when to try again: 2 s after the first attempt, doubled each time up to a limit, ± 20 %.

    Parameters
    ----------
    attempts : int
        Attempts made, at least 1.
    now : datetime.datetime
        Aware.
    longest_s : float
        The limit; 15 minutes.
    """
    delay_s = min(longest_s, _FIRST_DELAY_S * 2 ** min(attempts - 1, 20))
    # Jitter keeps a thousand reports that failed together from coming back together.
    return now + timedelta(seconds=delay_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311


def judge_delivery(outcomes: Mapping[str, StoreOutcome]) -> Settlement:
    """Decide what a destination's answers amount to.

    Parameters
    ----------
    outcomes : Mapping
        The answers by what was sent: ``report``, ``capture``, and others.

    Returns
    -------
    Settlement
        PENDING when trying again can help. Else the capture decides, which shows the result in any viewer;
        without one the report; without either, all that was sent: STORED or FAILED. ``stored`` is left
        empty: it needs the instances themselves.
    """
    message = ", ".join(f"{what} {_words(outcome)}" for what, outcome in outcomes.items())
    reached = all(outcome.status is not None for outcome in outcomes.values())
    if any(outcome.transient and not outcome.succeeded for outcome in outcomes.values()):
        return Settlement(DeliveryStatus.PENDING, message, reached)
    decisive = next((outcomes[what] for what in ("capture", "report") if what in outcomes), None)
    taken = all(one.succeeded for one in outcomes.values()) if decisive is None else decisive.succeeded
    status = DeliveryStatus.STORED if taken else DeliveryStatus.FAILED
    return Settlement(status, message, reached)


def _words(outcome: StoreOutcome) -> str:
    verb = "stored" if outcome.succeeded else "not stored"
    code = "" if outcome.status is None else f" 0x{outcome.status:04X}"
    told = outcome.comment or ("" if outcome.succeeded else "the destination's log says why")
    return f"{verb}{code} ({told})" if told else f"{verb}{code}"
