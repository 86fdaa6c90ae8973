"""Settings: precedence, secrets from files, and errors that name the setting but no secret."""

import json
from pathlib import Path

import pytest

from worker.destination import Destination
from worker.errors import SettingsError
from worker.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in os.environ:
        if name.startswith("CXR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults_are_the_embedded_worker() -> None:
    settings = load_settings()
    assert settings.broker_url == "memory://"
    assert settings.database.get_backend_name() == "sqlite"
    assert Path(settings.database.database or "").name == "journal.sqlite3"
    assert (settings.ae_title, settings.host, settings.port) == ("CXRWORKER", "127.0.0.1", 11112)


def test_environment_wins_over_secret_file_over_toml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toml, secret = tmp_path / "worker.toml", tmp_path / "secret"
    toml.write_text('ae_title = "TOML"\nport = 1\nbroker_url = "redis://toml"\n')
    secret.write_text("redis://:pw@file\n")
    monkeypatch.setenv("CXR_BROKER_URL_FILE", str(secret))
    monkeypatch.setenv("CXR_PORT", "3")
    settings = load_settings(toml)
    assert (settings.ae_title, settings.broker_url, settings.port) == ("TOML", "redis://:pw@file", 3)


def test_config_file_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "worker.toml").write_text(
        "[[destinations]]\nae_title='PACS'\nhost='h'\nport=104\nsr='enhanced'\n"
    )
    monkeypatch.setenv("CXR_CONFIG", str(tmp_path / "worker.toml"))
    (destination,) = load_settings().destinations
    assert (destination.name, destination.sr) == ("PACS@h:104", "enhanced")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("PACS@10.0.0.1:104", ["PACS@10.0.0.1:104"]),
        ("A@h:1, B@h:2", ["A@h:1", "B@h:2"]),
        ('["A@h:1", {"ae_title": "B", "host": "h", "port": 2}]', ["A@h:1", "B@h:2"]),
        ("", []),
    ],
)
def test_destinations_short_and_long(monkeypatch: pytest.MonkeyPatch, text: str, names: list[str]) -> None:
    monkeypatch.setenv("CXR_DESTINATIONS", text)
    assert [destination.name for destination in load_settings().destinations] == names


def test_a_web_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_DESTINATIONS", "A@h:1,https://pacs.example/dicom-web")
    dimse, web = load_settings().destinations
    assert (dimse.url, dimse.send) == ("", ("sr", "sc"))
    assert (web.name, web.ae_title) == ("https://pacs.example/dicom-web", None)


def test_tls_asks_senders_for_certificates_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_TLS_CERTIFICATE", "node.crt")
    monkeypatch.setenv("CXR_TLS_KEY", "node.key")
    with pytest.raises(SettingsError, match="tls_ca"):
        load_settings()
    monkeypatch.setenv("CXR_TLS_REQUIRE_CLIENT_CERTIFICATE", "false")
    assert not load_settings().tls_require_client_certificate


@pytest.mark.parametrize(("value", "expected"), [(None, 4096), ("0", None), ("2048", 2048)])
def test_memory_is_bounded_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, value: str | None, expected: int | None
) -> None:
    if value is not None:
        monkeypatch.setenv("CXR_MAXIMUM_MEMORY_MB", value)
    assert load_settings().maximum_memory_mb == expected


def test_settings_survive_the_way_to_another_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "worker.toml").write_text(
        "allowed_addresses = ['10.0.0.0/8', '::1']\nkeep_entries_s = 5\n"
        "[spool_options]\nendpoint_url = 'http://s3'\n"
        "[[destinations]]\nurl = 'https://pacs'\ntoken_file = 't'\n"
        "[[destinations]]\nae_title = 'A'\nhost = 'h'\nport = 1\ncommitment = true\nsend = ['sr']\n"
    )
    settings = load_settings(tmp_path / "worker.toml")
    assert Settings(**json.loads(settings.model_dump_json())) == settings


def test_ipv6_destination() -> None:
    assert Destination.parse("PACS@[::1]:104").host == "::1"


@pytest.mark.parametrize(
    ("host", "titles", "expected"),
    [
        ("127.0.0.1", None, ("*",)),
        ("localhost", None, ("*",)),
        ("0.0.0.0", None, ()),
        ("0.0.0.0", "CT1,CR2", ("CT1", "CR2")),
        ("127.0.0.1", "", ()),
    ],
)
def test_everyone_may_send_on_loopback_only(
    monkeypatch: pytest.MonkeyPatch, host: str, titles: str | None, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CXR_HOST", host)
    if titles is not None:
        monkeypatch.setenv("CXR_ALLOWED_CALLING_AE_TITLES", titles)
    assert load_settings().calling_ae_titles == expected


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CXR_PROT", "11112", "CXR_PROT"),
        ("CXR_PORT", "port", "port"),
        ("CXR_AE_TITLE", "   ", "ae_title"),
        ("CXR_AE_TITLE", "MUCH_TOO_LONG_TITLE", "ae_title"),
        ("CXR_DESTINATIONS", "nowhere", "AET@host:port"),
        ("CXR_DESTINATIONS", "[1", "destinations"),
        ("CXR_DESTINATIONS", "A@h:1,A@h:1", "same"),
        ("CXR_DESTINATIONS", '[{"ae_title": "A", "host": "h"}]', "needs ae_title, host and port, or url"),
        (
            "CXR_DESTINATIONS",
            '[{"ae_title": "A", "host": "h", "port": 1, "send": []}]',
            "one or more of sr, sc",
        ),
        ("CXR_DESTINATIONS", '[{"ae_title": "A", "host": "h", "port": 1, "token_file": "t"}]', "for a url"),
        ("CXR_DESTINATIONS", "https://user:sesame@pacs/dicom-web", "credentials"),
        ("CXR_DESTINATIONS", '[{"url": "ftp://pacs"}]', "http"),
        ("CXR_DESTINATIONS", '[{"url": "https://p", "send": ["map"]}]', "map alone"),
        ("CXR_DESTINATIONS", '[{"url": "https://pacs", "commitment": true}]', "commitment"),
        ("CXR_DESTINATIONS", '[{"url": "https://p", "token_file": "t", "username": "u"}]', "not both"),
        ("CXR_ALLOWED_ADDRESSES", "10.0.0.0/8,pacs", "neither an address"),
        ("CXR_TLS_CERTIFICATE", "node.crt", "tls_key"),
        ("CXR_KEEP_ENTRIES_S", "-1", "keep_entries_s"),
        ("CXR_SPOOL_OPTIONS", "{", "spool_options"),
        ("CXR_ALGORITHM", "three-stage", "algorithm"),
        ("CXR_DATABASE_URL", "what is this", "database_url"),
        ("CXR_DATABASE_URL_FILE", "/does/not/exist", "CXR_DATABASE_URL_FILE"),
        ("CXR_CONFIG", "/does/not/exist.toml", "/does/not/exist.toml"),
    ],
)
def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_unknown_key_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "worker.toml").write_text("prot = 1\n")
    with pytest.raises(SettingsError, match="prot: no such setting"):
        load_settings(tmp_path / "worker.toml")


def test_secrets_show_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_DATABASE_URL", "postgresql://user:sesame@host/name")
    monkeypatch.setenv("CXR_BROKER_URL", "redis://:sesame@host")
    settings = load_settings()
    assert "sesame" not in repr(settings)
    assert settings.database.drivername == "postgresql+psycopg"
    monkeypatch.setenv("CXR_PORT", "sesame")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "sesame" not in str(caught.value).replace("CXR_PORT", "")


@pytest.mark.parametrize(
    ("destination", "told"),
    [
        ({"ae_title": "A", "host": "h", "port": 1, "priors": "qido"}, "use c-get or c-move"),
        ({"url": "http://h/dicom-web", "priors": "c-get"}, "priors is qido"),
        ({"ae_title": "A", "host": "h", "port": 1, "priors": "c-find"}, "priors"),
    ],
)
def test_how_earlier_results_are_asked_for_fits_the_destination(
    monkeypatch: pytest.MonkeyPatch, destination: dict[str, object], told: str
) -> None:
    monkeypatch.setenv("CXR_DESTINATIONS", json.dumps([destination]))
    with pytest.raises(SettingsError, match=told):
        load_settings()


def test_asking_archives_leaves_time_to_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_CLAIM_TIMEOUT_S", "20")
    load_settings()
    destination = {"ae_title": "A", "host": "h", "port": 1, "priors": "c-get"}
    monkeypatch.setenv("CXR_DESTINATIONS", json.dumps([destination]))
    with pytest.raises(SettingsError, match="priors_within_s"):
        load_settings()
    monkeypatch.setenv("CXR_PRIORS_WITHIN_S", "10")
    assert load_settings().destinations[0].priors == "c-get"
