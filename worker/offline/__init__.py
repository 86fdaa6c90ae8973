"""Scoring files without a node, journal or network: ``cxr-worker score``."""

from worker.offline.scoring import (
    OfflineResult,
    UnreadableFile,
    find_files,
    read_picture,
    score_files,
    write_csv,
)

__all__ = ["OfflineResult", "UnreadableFile", "find_files", "read_picture", "score_files", "write_csv"]
