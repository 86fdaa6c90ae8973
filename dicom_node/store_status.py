"""The answers that the node gives to C-STORE."""

from __future__ import annotations

from enum import IntEnum


class StoreStatus(IntEnum):
    """A status (PS3.4 B.2.3; 0x0117 from PS3.7 C.5.12) and ``meaning``, what it says to the sender."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> StoreStatus:
        """Make a member of a number and its meaning."""
        member = int.__new__(cls, value)
        member._value_, member.meaning = value, meaning
        return member

    SUCCESS = 0x0000, "The instance is durable here; the sender may forget it."
    INVALID_INSTANCE = 0x0117, "A UID is malformed, or data set and request name different instances."
    OUT_OF_RESOURCES = 0xA700, "It could not be kept; the sender should try again."
    MISMATCHED_SOP_CLASS = 0xA900, "The data set is not of the SOP class it was sent under."
    CANNOT_UNDERSTAND = 0xC000, "The bytes are no data set, or what they hold can never be taken in."
