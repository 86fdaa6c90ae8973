"""The conformance statement of a configuration: the default one is committed, and none tells a secret."""

import pytest
from click.testing import CliRunner

from dicom_node.conformance import conformance_statement
from tests.conftest import ROOT
from worker.__main__ import cli
from worker.conformance_facts import describe
from worker.settings import Settings

COMMITTED = ROOT / "dicom_node" / "CONFORMANCE.md"


@pytest.fixture(autouse=True)
def _default_settings(monkeypatch):
    for name in ("CXR_CONFIG", "CXR_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_the_committed_statement_is_the_default_configurations():
    assert COMMITTED.read_text(encoding="utf-8") == conformance_statement(describe(Settings())), (
        "what the statement tells has changed: write it anew with "
        "`cxr-worker conformance > dicom_node/CONFORMANCE.md`, and look at the difference"
    )


def test_the_command_prints_it():
    printed = CliRunner().invoke(cli, ["conformance"], standalone_mode=False)
    assert printed.output == COMMITTED.read_text(encoding="utf-8")


def test_the_configuration_is_told_and_no_secret(tmp_path):
    secret = tmp_path / "s3cret-file"
    secret.write_text("s3cret-token")
    settings = Settings(
        ae_title="AI",
        algorithm="both",
        database_url="postgresql://user:s3cret@db/x",
        broker_url="redis://:s3cret@redis/0",
        tls_certificate=tmp_path / "s3cret.pem",
        tls_key=tmp_path / "s3cret.pem",
        tls_require_client_certificate=False,
        destinations=(
            {"url": "https://pacs.example/dicom-web", "token_file": secret, "priors": "qido"},
            {"ae_title": "PACS", "host": "pacs.example", "port": 104, "priors": "c-move", "commitment": True},
        ),
    )
    node = describe(settings)
    assert (node.ae_title, node.tls, node.client_certificate) == ("AI", True, False)
    web, pacs = node.destinations
    assert (web.web, web.tls, web.priors) == (True, True, "qido")
    assert (pacs.web, pacs.tls, pacs.commitment, pacs.priors) == (False, False, True, "c-move")
    text = conformance_statement(node)
    assert "PACS@pacs.example:104" in text
    assert "two-stage (0 to 6), bs-net (0 to 18)" in text
    assert "s3cret" not in text
    assert str(tmp_path) not in text
