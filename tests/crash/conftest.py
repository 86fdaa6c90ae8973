"""The crash tests' modules are programs too: they find each other in this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
