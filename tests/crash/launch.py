"""Fault points for real processes: ``python tests/crash/launch.py serve`` is ``cxr-worker serve`` with them.

A fault point is ``module:qualified.name:before`` or ``...:after``; the worker's code knows nothing of it.
When a process passes a point that is armed, it takes the arm's file (by renaming it: exactly one process
gets it) and does what the arm says. ``instrument/sitecustomize.py`` calls ``install`` in every Python process
that has that folder in PYTHONPATH, so children are reached too, however they are started. Nothing is done
without CRASH_CONTROL, a folder with::

    points             a fault point a line
    armed/POINT/N      an arm, JSON: action, role, within, match, seconds; the highest N is taken first
    fired, missing     what happened: a JSON line each; points whose function does not exist

With CRASH_CLOCK_S the worker's modules read a clock that is off by so many seconds.

Actions: ``kill`` (SIGKILL for itself), ``group`` (for its process group), ``parent`` (its parent, then
itself), ``raise`` (OSError ENOSPC), ``error`` (RuntimeError), ``hang``, ``stop`` (SIGSTOP), ``pass``.
"""

from __future__ import annotations

import errno
import functools
import importlib
import importlib.abc
import importlib.machinery
import inspect
import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
_rename = os.rename  # itself a place for fault points
_OFFSET_S = float(os.environ.get("CRASH_CLOCK_S", "0"))


class _Control:
    """The folder through which faults are armed; every look at it is one system call unless armed."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.role = os.environ.get("CRASH_ROLE", "")

    def passing(self, point: str, arguments: Sequence[Any]) -> None:
        place = f"{self.folder}/armed/{point}"
        try:
            names = os.listdir(place)  # noqa: PTH208 - names, at the cost of one system call
        except OSError:
            return
        for name in sorted(names, key=_number, reverse=True):
            arm = self._take(place, name, arguments)
            if arm is not None:
                self._fire(point, arm)
                return

    def tell(self, file: str, line: str) -> None:
        descriptor = os.open(f"{self.folder}/{file}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    def _take(self, place: str, name: str, arguments: Sequence[Any]) -> dict[str, Any] | None:
        if name.startswith("."):
            return None
        try:
            arm: dict[str, Any] = json.loads(Path(place, name).read_text(encoding="utf-8"))
            if not self._meant(arm, arguments):
                return None
            _rename(f"{place}/{name}", f"{place}/.{name}.{os.getpid()}")
        except (OSError, ValueError):
            return None
        return arm

    def _meant(self, arm: dict[str, Any], arguments: Sequence[Any]) -> bool:
        if arm.get("role") and arm["role"] != self.role:
            return False
        match = arm.get("match")
        if match and not any(match in (item, getattr(item, "sop_instance_uid", "")) for item in arguments):
            return False
        return not arm.get("within") or _called_within(arm["within"])

    def _fire(self, point: str, arm: dict[str, Any]) -> None:
        action = arm.get("action", "kill")
        told = {"point": point, "action": action, "role": self.role, "pid": os.getpid(), "at": time.time()}
        self.tell("fired", json.dumps(told))
        if action in ("kill", "group", "parent"):
            if action == "parent":
                os.kill(os.getppid(), signal.SIGKILL)
            if action == "group":
                os.killpg(os.getpgid(0), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        elif action == "raise":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif action == "error":
            raise RuntimeError("a fault that a test put here")
        elif action == "hang":
            time.sleep(arm["seconds"])
        elif action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)


def install() -> None:
    """Wrap the points' functions as their modules are imported."""
    folder = os.environ.get("CRASH_CONTROL")
    if not folder or not Path(folder, "points").exists():
        return
    control = _Control(folder)
    points: dict[str, dict[str, set[str]]] = {}
    for line in Path(folder, "points").read_text(encoding="utf-8").split():
        module, name, when = line.split(":")
        points.setdefault(module, {}).setdefault(name, set()).add(when)
    for module in points.keys() & sys.modules.keys():
        _wrap(sys.modules[module], points.pop(module), control)
    sys.meta_path.insert(0, _Finder(points, control))
    wanted = os.environ.get("CRASH_PRELOAD", "").split()
    if os.environ.get("CRASH_ROLE") != "serve" or "worker.scoring_process" in sys.orig_argv:
        # before anything is timed, and before a parent forks: so a child can score at once
        for module in wanted:
            importlib.import_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps a module's functions right after its code ran, before its importer sees them."""

    def __init__(self, points: dict[str, dict[str, set[str]]], control: _Control) -> None:
        self._points = points
        self._control = control

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._points and not (_OFFSET_S and name.startswith("worker.")):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_wrap(module: ModuleType) -> None:
            run(module)
            _wrap(module, self._points.get(name, {}), self._control)
            # not in the tables' own module, which goes by the type
            if _OFFSET_S and getattr(module, "datetime", None) is datetime and name != "worker.schema":
                module.datetime = _WrongClock  # type: ignore[attr-defined]

        spec.loader.exec_module = run_and_wrap  # type: ignore[method-assign]
        return spec


class _WrongClock(datetime):
    """Takes the place of ``datetime`` in the worker's modules."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(seconds=_OFFSET_S)


def _wrap(module: ModuleType, names: dict[str, set[str]], control: _Control) -> None:
    for name, moments in names.items():
        owner: Any = module
        *path, last = name.split(".")
        with suppress(AttributeError):
            for part in path:
                owner = getattr(owner, part)
            original = getattr(owner, last)
            watched = _watched(f"{module.__name__}:{name}", original, moments, control)
            static = isinstance(inspect.getattr_static(owner, last), staticmethod)
            setattr(owner, last, staticmethod(watched) if static else watched)
            continue
        control.tell("missing", f"{module.__name__}:{name}")


def _watched(
    point: str, original: Callable[..., Any], moments: set[str], control: _Control
) -> Callable[..., Any]:
    @functools.wraps(original)
    def watched(*arguments: Any, **keywords: Any) -> Any:
        if "before" in moments:
            control.passing(f"{point}:before", arguments)
        result = original(*arguments, **keywords)
        if "after" in moments:
            control.passing(f"{point}:after", arguments)
        return result

    return watched


def _called_within(name: str) -> bool:
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == name:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _number(name: str) -> int:
    return int(name) if name.isdigit() else -1


def environment(control: Path, role: str) -> dict[str, str]:
    """Return what a process's environment needs for its fault points."""
    return {
        "CRASH_CONTROL": str(control),
        "CRASH_ROLE": role,
        "PYTHONPATH": os.pathsep.join((str(HERE / "instrument"), str(HERE.parent.parent))),
    }


if __name__ == "__main__":
    os.environ.update(environment(Path(os.environ["CRASH_CONTROL"]), os.environ.get("CRASH_ROLE", "")))
    install()
    sys.argv[0] = "worker"
    runpy.run_module("worker", run_name="__main__", alter_sys=True)
