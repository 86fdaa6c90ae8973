"""One step of the story for one instance; what stops it is one line in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

from worker.errors import StorageError
from worker.pipeline import describe

logger = logging.getLogger(__name__)

Step = Callable[[str], None]
"""Does something for the instance with this SOP Instance UID."""


def run_step(step: Callable[[], None], sop_instance_uid: str) -> None:
    """Run a step; never raises, since the journal says what is still to do and the sweeper rings again."""
    try:
        step()
    except StorageError as error:
        logger.warning("%s: %s; rings later", sop_instance_uid, error)
    except Exception as error:
        # The error's own text may quote a patient's name.
        logger.error("%s: unexpected %s", sop_instance_uid, describe(error))  # noqa: TRY400
