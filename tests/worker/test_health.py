"""A listener that answers is healthy, whatever it answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_node.storage_scp import StorageSCP
from tests.certificates import Authority
from tests.conftest import free_port
from worker.health import Unhealthy, require_listening
from worker.service import node_settings
from worker.settings import Settings


@pytest.fixture
def listening() -> Callable[..., Any]:
    @contextmanager
    def start(settings: Settings) -> Iterator[None]:
        with StorageSCP(node_settings(settings), lambda _instance: None):
            yield

    return start


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"allowed_calling_ae_titles": ["SOMEBODY"]},
        {"allowed_addresses": ["10.0.0.0/8"]},
        {"host": "0.0.0.0", "allowed_calling_ae_titles": []},
    ],
)
def test_it_listens(listening: Any, settings: dict[str, Any]) -> None:
    made = Settings(port=free_port(), **settings)
    with pytest.raises(Unhealthy, match="is `listen` running"):
        require_listening(made)
    with listening(made):
        require_listening(made)


@pytest.mark.parametrize("asks", [True, False])
def test_it_listens_over_tls(listening: Any, tmp_path: Path, asks: bool) -> None:
    files = Authority.new(tmp_path, "hospital").issue("node", hosts=("node.hospital.example",))
    made = Settings(
        port=free_port(),
        tls_certificate=files.certificate,
        tls_key=files.key,
        tls_ca=files.ca,
        tls_require_client_certificate=asks,
    )
    with pytest.raises(Unhealthy):
        require_listening(made)
    with listening(made):
        require_listening(made)
