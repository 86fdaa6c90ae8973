"""Where the data folder is: ``--data`` or ``CXR_DATASET``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """Give a parser ``--data``, whose default is ``CXR_DATASET``, and which is required without that."""
    default = os.environ.get("CXR_DATASET")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(default) if default else None,
        required=default is None,
        help="folder that holds manifest.csv (default: the environment variable CXR_DATASET)",
    )
