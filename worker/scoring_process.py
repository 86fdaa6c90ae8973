"""The scorer in a process of its own: an image that kills or hangs it never touches the node.

The parent writes lines and the child answers each with one JSON object a line::

    parent -> child   the settings as JSON, which may hold secrets and so stand in no argument
    child -> parent   {"ready": [what scores, in a line each]} or {"error": why it cannot score}
    parent -> child   a SOP Instance UID
    child -> parent   {"done": uid, "deliver": [uid, …], "score": [uid, …]}: the bells to ring

The child ends when its input ends. When it dies instead, or takes too long and is killed, the claim goes
back at once and another child is started.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self

from pydantic import ValidationError

from dicom_node.errors import DicomNodeError
from models.errors import ModelError
from worker.errors import StorageError, WorkerError
from worker.logs import configure_logging
from worker.pipeline import score
from worker.process_limits import bound_memory, end_with_parent
from worker.service import Service, introduce, open_service
from worker.settings import Settings
from worker.step import run_step

logger = logging.getLogger("worker.scoring_process")

COMMAND = (sys.executable, "-m", "worker.scoring_process")
_READY_WITHIN_S = 300.0
_END_WITHIN_S = 10.0


class ScorerLost(WorkerError):
    """The scoring process died, or took too long and was killed."""


class ScoringProcess:
    """The parent's end.

    Parameters
    ----------
    settings : Settings
        What the child works with.
    time_limit_s : float
        After which an unanswered image is taken for one that hangs the scorer.
    command : Sequence of str
        How the child is started.
    """

    def __init__(self, settings: Settings, time_limit_s: float, command: Sequence[str] = COMMAND) -> None:
        self._settings = settings
        self._time_limit_s = time_limit_s
        self._command = tuple(command)
        self._turn = threading.Lock()
        self._closed = False
        self._child: _Child | None = None
        self.algorithms: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        """Start the child without waiting for it: its libraries load while the parent goes on."""
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child."""
        self._closed = True
        if self._child is not None:
            self._child.end()

    def wait_until_ready(self) -> None:
        """Wait until the networks are loaded.

        Raises
        ------
        WorkerError
            When they cannot be, or database or spool cannot be opened.
        """
        child = self._child if self._child is not None and self._child.alive else self._start()
        child.say(self._settings.model_dump_json())
        answer = child.hear(_READY_WITHIN_S)
        if "ready" not in answer:
            raise WorkerError(str(answer.get("error", "the scoring process does not understand us")))
        self.algorithms = tuple(map(str, answer["ready"]))

    def score(self, sop_instance_uid: str, service: Service) -> None:
        """Have one instance scored, and ring the bells that follow; never raises.

        Parameters
        ----------
        sop_instance_uid : str
            The instance.
        service : Service
            The parent's, which takes the claim back from a child that is lost.
        """
        with self._turn:
            if self._closed or not self._ready():
                return
            try:
                answer = self._ask(sop_instance_uid)
            except ScorerLost as loss:
                if not self._closed:
                    self._give_back(sop_instance_uid, service, loss)
                    self._ready()
                return
        for uid in answer.get("deliver", ()):
            service.doorbell.ring_deliver(uid)
        for uid in answer.get("score", ()):
            service.doorbell.ring_score(uid)

    def _start(self) -> _Child:
        if self._child is not None:
            self._child.end()
        self._child = _Child(self._command)
        return self._child

    def _ready(self) -> bool:
        if self._child is not None and self._child.alive:
            return True
        try:
            self.wait_until_ready()
        except WorkerError as error:
            logger.error("the scorer does not start, images wait: %s", error)  # noqa: TRY400 - one line
            return False
        return True

    def _ask(self, sop_instance_uid: str) -> dict[str, Any]:
        child = self._child
        if child is None:
            raise ScorerLost("there is none")
        child.say(sop_instance_uid)
        return child.hear(self._time_limit_s)

    def _give_back(self, sop_instance_uid: str, service: Service, loss: ScorerLost) -> None:
        logger.error("%s: the scoring process %s; starting another", sop_instance_uid, loss)
        try:
            service.upkeep.lose_claim(sop_instance_uid, self._settings.maximum_attempts)
        except StorageError as error:
            logger.warning("%s: %s; its claim comes back later", sop_instance_uid, error)


class _Child:
    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._heard = b""

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def say(self, line: str) -> None:
        stdin = self._process.stdin
        # A child that is gone is found out by listening to it.
        with suppress(BrokenPipeError, ValueError):
            if stdin is not None:
                stdin.write(f"{line}\n".encode())
                stdin.flush()

    def hear(self, within_s: float) -> dict[str, Any]:
        """Return the next answer; a child that gives none in time is killed."""
        deadline = time.monotonic() + within_s
        try:
            while b"\n" not in self._heard:
                self._heard += self._read(deadline)
        except TimeoutError:
            self._kill()
            raise ScorerLost(f"gave no answer within {within_s:.0f} s and was killed") from None
        except EOFError:
            raise ScorerLost(f"died ({self._how_it_ended()})") from None
        line, self._heard = self._heard.split(b"\n", 1)
        answer = json.loads(line)
        return answer if isinstance(answer, dict) else {}

    def end(self) -> None:
        """Let it finish, and kill it if it does not."""
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._kill()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self, deadline: float) -> bytes:
        stdout = self._process.stdout
        if stdout is None:
            raise EOFError
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
        read = os.read(stdout.fileno(), 65536)
        if not read:
            raise EOFError
        return read

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._kill()
            return "it closed its output"
        if code >= 0:
            return f"exit code {code}"
        return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"


class _ToldBells:
    """Bells that the parent rings: the queue is its own."""

    def __init__(self) -> None:
        self.deliver: list[str] = []
        self.score: list[str] = []

    def ring_score(self, sop_instance_uid: str) -> None:
        self.score.append(sop_instance_uid)

    def ring_deliver(self, sop_instance_uid: str) -> None:
        self.deliver.append(sop_instance_uid)

    def take(self) -> dict[str, list[str]]:
        told = {"deliver": self.deliver, "score": self.score}
        self.deliver, self.score = [], []
        return told


def main() -> int:
    """Score what the parent names until there is no more; return the exit code."""
    # The parent decides when this ends; a terminal's Ctrl-C and a supervisor's SIGTERM reach both.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(int(sys.argv[1]))
    answers = _own_output()
    bells = _ToldBells()
    try:
        # Long before the settings come: most of the start is these libraries.
        importlib.import_module("models.severity")
        line = sys.stdin.readline()
        if not line:
            return 0
        settings = Settings(**json.loads(line))
        configure_logging(settings.log_level, settings.log_format)
        stage = open_service(settings, bells).scoring
        bound_memory(settings.maximum_memory_mb)
    except (WorkerError, DicomNodeError, ModelError) as error:
        _tell(answers, {"error": str(error)})
        return 1
    except ValidationError:
        _tell(answers, {"error": "the settings do not reach the scoring process as they are"})
        return 1
    except ModuleNotFoundError as error:
        told = f"{error.name} is not installed: install cxr-severity-worker[scorer] where images are scored"
        _tell(answers, {"error": told})
        return 1
    _tell(answers, {"ready": [introduce(scorer.algorithm) for scorer in stage.scorers]})
    for line in sys.stdin:
        uid = line.strip()
        run_step(_scored(uid, stage), uid)
        _tell(answers, {"done": uid, **bells.take()})
    return 0


def _scored(uid: str, stage: Any) -> Callable[[], None]:
    return lambda: score(uid, stage)


def _own_output() -> IO[str]:
    # Whatever a library prints goes to the log; only answers go to the parent.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _tell(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(f"{json.dumps(answer)}\n")
    answers.flush()


if __name__ == "__main__":
    _code = main()
    logging.shutdown()
    # Taking torch apart in good order takes seconds, and nobody needs it.
    os._exit(_code)
