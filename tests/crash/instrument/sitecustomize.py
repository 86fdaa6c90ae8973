"""Python runs this first in every process that has this folder in PYTHONPATH: the fault points go in."""

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("crash_launch", Path(__file__).parent.parent / "launch.py")
assert _spec is not None
assert _spec.loader is not None
_launch = importlib.util.module_from_spec(_spec)
sys.modules["crash_launch"] = _launch
_spec.loader.exec_module(_launch)
_launch.install()
