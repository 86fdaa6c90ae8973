"""Decisions about trying again, as tables."""

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.storage_scu import StoreOutcome
from worker.entry import DeliveryStatus
from worker.retry import judge_delivery, retry_at

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("attempts", "expected_s"), [(1, 2), (2, 4), (5, 32), (10, 900), (10_000, 900)])
def test_delays_double_up_to_a_quarter_of_an_hour(attempts: int, expected_s: float) -> None:
    delays = [(retry_at(attempts, NOW) - NOW) / timedelta(seconds=1) for _ in range(100)]
    assert all(0.8 * expected_s <= delay <= 1.2 * expected_s for delay in delays)
    assert max(delays) > min(delays)


@pytest.mark.parametrize(
    ("report", "capture", "expected"),
    [
        (0x0000, 0x0000, DeliveryStatus.STORED),
        (0xB000, 0xB006, DeliveryStatus.STORED),
        (0xC000, 0x0000, DeliveryStatus.STORED),
        (0x0000, 0xC000, DeliveryStatus.FAILED),
        (0xC000, 0xC000, DeliveryStatus.FAILED),
        (0xA700, 0x0000, DeliveryStatus.PENDING),
        (0x0000, 0xA700, DeliveryStatus.PENDING),
        (None, 0x0000, DeliveryStatus.PENDING),
        (0xC000, None, DeliveryStatus.PENDING),
    ],
)
def test_answers_decide(report: int | None, capture: int | None, expected: DeliveryStatus) -> None:
    settlement = judge_delivery(
        {"report": StoreOutcome("1.2", report, ""), "capture": StoreOutcome("1.3", capture, "why")}
    )
    assert settlement.status is expected
    assert settlement.reached is (report is not None and capture is not None)
    assert settlement.message.startswith("report ")
    assert "(why)" in settlement.message


@pytest.mark.parametrize("what", ["report", "capture"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (0x0000, DeliveryStatus.STORED),
        (0xB007, DeliveryStatus.STORED),
        (0x0111, DeliveryStatus.STORED),
        (0xA700, DeliveryStatus.PENDING),
        (0xA900, DeliveryStatus.FAILED),
        (0x0122, DeliveryStatus.FAILED),
    ],
)
def test_one_object_alone_decides(what: str, answer: int, expected: DeliveryStatus) -> None:
    assert judge_delivery({what: StoreOutcome("1.2", answer)}).status is expected


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"report": 0x0000, "capture": 0x0000, "segmentation": 0x0122}, DeliveryStatus.STORED),
        ({"report": 0x0000, "presentation state": 0xA700}, DeliveryStatus.PENDING),
        ({"presentation state": 0x0000, "segmentation": 0x0000}, DeliveryStatus.STORED),
        ({"presentation state": 0x0000, "segmentation": 0x0122}, DeliveryStatus.FAILED),
    ],
)
def test_what_comes_beside_report_and_capture_decides_only_without_them(
    answers: dict[str, int], expected: DeliveryStatus
) -> None:
    outcomes = {what: StoreOutcome("1.2", answer) for what, answer in answers.items()}
    assert judge_delivery(outcomes).status is expected
