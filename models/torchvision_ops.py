"""Operators that torchvision needs at import, where its compiled part cannot load.

segmentation-models-pytorch and timm import torchvision, of which they use Python code only. torchvision's
wheel is linked against CUDA; beside a CPU build of torch its compiled part fails to load, and importing the
package then stops at ``operator torchvision::nms does not exist``. Declaring the two operators first lets the
import through. They stay without an implementation: nothing in this project calls them.

Import this module before ``segmentation_models_pytorch``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_missing_operators() -> torch.library.Library | None:
    """Declare ``torchvision::nms`` and ``torchvision::qnms`` if torchvision cannot bring its own.

    Returns
    -------
    torch.library.Library or None
        The declaration, which lives as long as it is referenced; None where torchvision's compiled part
        loads, where torchvision is absent, or where the operators exist already.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or _exists("nms"):
        return None
    for compiled in sorted(Path(found.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(name + _SCHEMA)  # type: ignore[no-untyped-call]
    return library


def _exists(name: str) -> bool:
    return hasattr(torch.ops.torchvision, name)


DECLARED = declare_missing_operators()
"""Keeps the declaration alive; None where none was needed."""
