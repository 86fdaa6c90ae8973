"""Coverage-guided fuzzing of everything that happens to a film before a network sees it.

Run by ``make fuzz``: ``python -m tests.fuzz.decode [-runs=N] [-max_total_time=S] [-seed=N] [FOLDER]``, with
libFuzzer's own options; new inputs are kept in FOLDER, those that break a promise under ``data/fuzz/``.
What may come out is a radiograph or one of the documented errors, within 5 s and 2 GiB.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dicom_node", "pydicom"]):
    from tests.fuzz.target import handle

from tests.fuzz import seeds
from tests.fuzz.mutations import mutate

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
FOUND = HERE.parents[1] / "data" / "fuzz"
LONGEST_S = 5
MAXIMUM_MB = 2048
MAXIMUM_INPUT_BYTES = 8192
_REPORT_EVERY = 10_000


class Tally:
    """How many inputs ran, how long the slowest took, and what came out."""

    def __init__(self) -> None:
        self.runs = 0
        self.longest_s = 0.0
        self.outcomes: dict[str, int] = {}
        self.started = time.monotonic()

    def note(self, outcome: str, elapsed_s: float) -> None:
        self.runs += 1
        self.longest_s = max(self.longest_s, elapsed_s)
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if self.runs % _REPORT_EVERY == 0:
            self.tell()

    def tell(self) -> None:
        elapsed_s = time.monotonic() - self.started
        told = {
            "runs": self.runs,
            "runs_per_s": round(self.runs / elapsed_s, 1),
            "longest_s": round(self.longest_s, 3),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "outcomes": dict(sorted(self.outcomes.items())),
        }
        sys.stderr.write(f"tally {json.dumps(told)}\n")


def main() -> None:
    """Fuzz, or replay the files that are named."""
    tally = Tally()

    def target(content: bytes) -> None:
        started = time.monotonic()
        tally.note(handle(content), time.monotonic() - started)

    def anyhow(content: bytes, maximum: int) -> bytes:
        return bytes(atheris.Mutate(content, maximum))

    def change(content: bytes, maximum: int, seed: int) -> bytes:
        return mutate(content, maximum, seed, anyhow)

    # numpy tells of overflows and NaN by warnings, which no film may cause; pydicom's tell of odd values.
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)
    named = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    FOUND.mkdir(parents=True, exist_ok=True)
    defaults = [
        f"-timeout={LONGEST_S}",
        f"-rss_limit_mb={MAXIMUM_MB}",
        f"-max_len={MAXIMUM_INPUT_BYTES}",
        f"-dict={HERE / 'dicom.dict'}",
        f"-artifact_prefix={FOUND}/",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    with tempfile.TemporaryDirectory(prefix="cxr-fuzz-") as folder:
        for name, film in seeds.films().items():
            (Path(folder) / f"{name}.dcm").write_bytes(film)
        places = named or [folder]
        if not any(Path(place).is_file() for place in places):
            places += [folder, str(CORPUS)]
        atheris.Setup([sys.argv[0], *defaults, *options, *places], target, custom_mutator=change)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
