"""The scorer in a process of its own: what kills, hangs or starves it costs attempts and nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.instance import ReceivedInstance
from tests.conftest import wait_until
from worker.database import migrate, open_engine
from worker.entry import EntryStatus
from worker.errors import WorkerError
from worker.process_limits import bound_memory
from worker.scoring_process import COMMAND, ScoringProcess
from worker.service import Service, open_service
from worker.settings import Settings

# Stands before the module in a child, and makes it do to chosen images what a broken decoder does.
_SABOTEUR = """
    import os, signal, sys, time
    from pathlib import Path

    from worker import scoring_process

    folder = Path({folder!r})
    once = scoring_process.score

    def score(uid, stage):
        if (folder / uid).exists():
            does = (folder / uid).read_text()
            print("a library's chatter")
            os.write(1, b"and more of it\\n")
            if does != "prints":
                stage.journal.claim(uid)
            if does == "dies":
                os.kill(os.getpid(), signal.SIGSEGV)
            if does == "exits":
                os._exit(3)
            if does == "hangs":
                time.sleep(600)
        once(uid, stage)

    scoring_process.score = score
    sys.exit(scoring_process.main())
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose journal has the current schema."""
    folder = tmp_path_factory.mktemp("data")
    engine = open_engine(Settings(data_dir=folder).database)
    migrate(engine)
    engine.dispose()
    return folder


@pytest.fixture(scope="module")
def sabotage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sabotage")


@pytest.fixture(scope="module")
def settings(database: Path) -> Settings:
    return Settings(
        data_dir=database,
        device="cpu",
        destinations="PACS@127.0.0.1:104",
        maximum_attempts=2,
        weights="light",
    )


@pytest.fixture(scope="module")
def scorer(settings: Settings, sabotage: Path) -> Iterator[ScoringProcess]:
    program = textwrap.dedent(_SABOTEUR).format(folder=str(sabotage))
    with ScoringProcess(settings, 20.0, [sys.executable, "-c", program]) as process:
        process.wait_until_ready()
        yield process


@pytest.fixture
def service(settings: Settings, bells: Any) -> Iterator[Service]:
    service = open_service(settings, bells)
    yield service
    service.engine.dispose()


Accept = Callable[[], str]


@pytest.fixture
def accept(service: Service, make_instance: Callable[..., ReceivedInstance], make_film: Any) -> Accept:
    """Take a film in, and return its SOP Instance UID."""

    def take() -> str:
        film = make_film(Rows=400, Columns=400, PixelData=bytes(400 * 400 * 2))
        uid = film_uid(film)
        instance = make_instance(uid, film)
        service.spool.write_instance(uid, film)
        service.journal.record_received(instance)
        return uid

    return take


def film_uid(film: bytes) -> str:
    from io import BytesIO

    from pydicom import dcmread

    return str(dcmread(BytesIO(film), stop_before_pixels=True).SOPInstanceUID)


def test_an_image_is_scored_and_the_parent_rings(
    scorer: ScoringProcess, service: Service, accept: Accept, bells: Any
) -> None:
    uid = accept()
    scorer.score(uid, service)
    entry = service.history.entry(uid)
    assert entry is not None
    assert entry.status is EntryStatus.REPORTED
    assert bells.deliver == [uid]
    (told,) = scorer.algorithms
    assert re.fullmatch(r"two-stage [0-9.]+, digest [0-9a-f]{16}", told)


@pytest.mark.parametrize(("does", "told"), [("dies", "SIGSEGV"), ("exits", "exit code 3")])
def test_an_image_that_kills_the_scorer_ends_failed_and_the_next_one_is_scored(
    scorer: ScoringProcess,
    service: Service,
    accept: Accept,
    sabotage: Path,
    caplog: pytest.LogCaptureFixture,
    does: str,
    told: str,
) -> None:
    poison, good = accept(), accept()
    (sabotage / poison).write_text(does)
    for status in (EntryStatus.RECEIVED, EntryStatus.FAILED):
        scorer.score(poison, service)
        entry = service.history.entry(poison)
        assert entry is not None
        assert entry.status is status
    assert (entry.attempts, entry.reason) == (2, "worker-lost")
    assert f"{poison}: the scoring process died ({told})" in caplog.text
    scorer.score(good, service)
    entry = service.history.entry(good)
    assert entry is not None
    assert entry.status is EntryStatus.REPORTED


def test_an_image_that_hangs_the_scorer_is_cut_short(
    scorer: ScoringProcess, service: Service, accept: Accept, sabotage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = accept()
    (sabotage / uid).write_text("hangs")
    monkeypatch.setattr(scorer, "_time_limit_s", 1.0)
    scorer.score(uid, service)
    entry = service.history.entry(uid)
    assert entry is not None
    assert (entry.status, entry.attempts) == (EntryStatus.RECEIVED, 1)
    (sabotage / uid).unlink()
    monkeypatch.setattr(scorer, "_time_limit_s", 20.0)
    scorer.score(uid, service)
    entry = service.history.entry(uid)
    assert entry is not None
    assert entry.status is EntryStatus.REPORTED


def test_what_libraries_print_is_no_answer(
    scorer: ScoringProcess, service: Service, accept: Accept, sabotage: Path, bells: Any
) -> None:
    uid = accept()
    (sabotage / uid).write_text("prints")
    scorer.score(uid, service)
    entry = service.history.entry(uid)
    assert entry is not None
    assert (entry.status, entry.message) == (EntryStatus.REPORTED, None)
    assert bells.deliver == [uid]


def test_a_scorer_killed_while_idle_costs_no_attempt(
    scorer: ScoringProcess, service: Service, accept: Accept
) -> None:
    assert scorer._child is not None
    scorer._child._process.kill()
    scorer._child._process.wait()
    uid = accept()
    scorer.score(uid, service)
    entry = service.history.entry(uid)
    assert entry is not None
    assert (entry.status, entry.attempts) == (EntryStatus.REPORTED, 1)


def test_ctrl_c_and_sigterm_leave_the_end_to_the_parent(
    scorer: ScoringProcess, service: Service, accept: Accept
) -> None:
    assert scorer._child is not None
    before = scorer._child._process.pid
    os.kill(before, signal.SIGINT)
    os.kill(before, signal.SIGTERM)
    scorer.score(accept(), service)
    assert scorer._child._process.pid == before


def test_secrets_stand_in_no_argument_and_no_variable(settings: Settings) -> None:
    secret = settings.model_copy(update={"spool_options": {"secret": "sesame"}})
    with ScoringProcess(secret, 20.0) as process:
        process.wait_until_ready()
        assert process._child is not None
        place = Path(f"/proc/{process._child._process.pid}")
        assert b"worker.scoring_process" in (place / "cmdline").read_bytes()
        for name in ("cmdline", "environ"):
            assert b"sesame" not in (place / name).read_bytes()
    assert not place.exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights": Path("/nowhere")}, "/nowhere"),
        ({"database_url": "sqlite://"}, "cxr-worker migrate"),
        ({"port": 70000}, "settings do not reach"),
    ],
)
def test_why_it_cannot_start_is_said_in_one_line(
    settings: Settings, change: dict[str, Any], told: str
) -> None:
    with ScoringProcess(settings.model_copy(update=change), 20.0) as process:
        with pytest.raises(WorkerError, match=told) as caught:
            process.wait_until_ready()
        assert "\n" not in str(caught.value)


def test_it_ends_with_a_parent_that_is_killed(settings: Settings, tmp_path: Path) -> None:
    program = f"""
        import json, sys, time
        from worker.scoring_process import ScoringProcess
        from worker.settings import Settings
        with ScoringProcess(Settings(**json.loads(sys.argv[1])), 20.0) as process:
            process.wait_until_ready()
            # Busy, so that it does not look at its input.
            process._child._process.send_signal({signal.SIGSTOP})
            print(process._child._process.pid, flush=True)
            time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), settings.model_dump_json()], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: _gone(child), what="the child's end")


def _gone(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return not status.exists() or "Z (zombie)" in status.read_text()


def test_a_bound_below_what_is_there_already_is_refused() -> None:
    with pytest.raises(WorkerError, match="CXR_MAXIMUM_MEMORY_MB is 1, but the networks alone take"):
        bound_memory(1)


def test_memory_beyond_the_bound_is_an_error_of_one_attempt() -> None:
    program = """
        import sys
        from worker.process_limits import bound_memory, data_mb
        bound_memory(data_mb() + 64)
        held = bytearray(16 << 20)
        try:
            bytearray(512 << 20)
        except MemoryError:
            print("refused", len(held))
    """
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["refused", str(16 << 20)]


def test_two_askers_take_turns(scorer: ScoringProcess, service: Service, accept: Accept, bells: Any) -> None:
    uids = [accept() for _ in range(3)]
    threads = [threading.Thread(target=scorer.score, args=(uid, service)) for uid in uids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bells.deliver) == sorted(uids)
    assert COMMAND[-1] == "worker.scoring_process"
    assert json.loads(service.settings.model_dump_json())["weights"] == "light"
