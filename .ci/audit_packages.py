"""Ask a vulnerability service about every pinned package; part of ``make lint``.

Exit code 1 when a pinned version has a known vulnerability that is not ignored below. A service that
cannot be reached, or a mirror that has no such data, is told in one line and fails nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

IGNORED: dict[str, str] = {}
"""Identifiers of vulnerabilities that do not concern us, each with the reason."""

SERVICES = ("pypi", "osv")
PINS = Path(__file__).resolve().parents[1] / "constraints.txt"
_LONGEST_S = 120


def ask(service: str) -> list[dict[str, Any]] | None:
    """Return what a service says of each package, or None where it does not answer."""
    ignored = [option for name in IGNORED for option in ("--ignore-vuln", name)]
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(PINS), "--no-deps", "--disable-pip",
        "--timeout", "10", "--progress-spinner", "off", "--format", "json", "--vulnerability-service",
        service, *ignored,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LONGEST_S)  # noqa: S603
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return packages


def main() -> int:
    """Ask one service after the other until one knows the packages."""
    for service in SERVICES:
        packages = ask(service)
        known = [package for package in packages or () if "skip_reason" not in package]
        if not known:
            continue
        affected = [(package, found) for package in known for found in package["vulns"]]
        for package, found in affected:
            mended = ", ".join(found["fix_versions"]) or "no version"
            told = f"{package['name']} {package['version']}: {found['id']}, mended in {mended}"
            sys.stdout.write(f"pip-audit: {told}\n")
        if not affected:
            unknown = len(packages or ()) - len(known)
            sys.stdout.write(
                f"pip-audit: nothing known against {len(known)} packages, {unknown} unknown there\n"
            )
        return 1 if affected else 0
    sys.stdout.write("pip-audit: no vulnerability service can be reached from here: nothing was audited\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
