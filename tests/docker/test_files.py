"""What Dockerfile and compose file promise, checked without a container engine."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from worker.settings import load_settings

DOCKER = Path(__file__).resolve().parents[2] / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
OURS = [name for name, service in SERVICES.items() if "build" in service]


def stages():
    return {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)}


def ancestry(stage):
    while stage in stages():
        yield stage
        stage = stages()[stage]


def stage_text(stage):
    return re.search(rf"^FROM \S+ AS {stage}$(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL).group(
        1
    )


def test_hadolint_finds_nothing():
    program = shutil.which(
        "hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if program is None:
        pytest.skip("hadolint is not installed")
    result = subprocess.run(
        [program, str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_compose_accepts_the_file():
    program = shutil.which("docker")
    if (
        program is None
        or subprocess.run([program, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("Docker's compose plugin is not installed")
    command = [
        program,
        "compose",
        "--file",
        str(DOCKER / "compose.yaml"),
        "--profile",
        "*",
        "config",
        "--quiet",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("target", ["listener", "scorer-cpu", "scorer-cuda"])
def test_images_run_without_privileges_and_report_their_health(target):
    text = "".join(stage_text(stage) for stage in ancestry(target))
    assert "USER 10001:10001" in text
    assert "HEALTHCHECK" in stage_text(target)
    assert 'ENTRYPOINT ["cxr-worker"]' in text
    assert "org.opencontainers.image.licenses" in text


def test_the_listener_image_has_no_scoring_packages():
    lineage = "".join(stage_text(stage) for stage in [*ancestry("listener"), *ancestry("listener-packages")])
    assert "torch" not in lineage
    assert "[scorer]" not in lineage
    assert "[scorer]" in stage_text("scorer-packages")


def test_everything_that_is_copied_reaches_the_builder():
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[1] == "*"
    sent = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        source
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for source in sources.split()
    }
    assert copied == sent
    assert all((DOCKER.parent / name).exists() for name in copied)


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "README.md", "create-secrets"])
def test_no_registry_or_index_is_named(name):
    text = (DOCKER / name).read_text()
    assert re.findall(r"(?:https?://|\b)[\w.-]+\.(?:org|io|com)/(?!licenses)", text) == []


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"orthanc"}))
def test_containers_are_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(entry.startswith("/tmp") for entry in service["tmpfs"])
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    assert "networks" in service


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_databases_are_not_reachable_from_outside(name):
    assert "ports" not in SERVICES[name]
    assert SERVICES[name]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(set(OURS) - {"migrate"}))
def test_roles_wait_for_the_schema_and_report_their_health(name):
    service = SERVICES[name]
    assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert service["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert service["healthcheck"]["test"][:3] == ["CMD", "cxr-worker", "health"]


def test_optional_services_stand_behind_profiles():
    assert SERVICES["scorer-gpu"]["profiles"] == ["gpu"]
    assert SERVICES["orthanc"]["profiles"] == ["test-pacs"]
    assert all("profiles" not in SERVICES[name] for name in SERVICES if name not in ("scorer-gpu", "orthanc"))


def test_every_reference_is_defined():
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        assert set(service.get("networks", [])) <= set(COMPOSE["networks"])
        named = {entry.split(":")[0] for entry in service.get("volumes", []) if not entry.startswith(".")}
        assert named <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        if "build" in service:
            assert service["build"]["target"] in stages()


def test_no_password_stands_in_a_variable():
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable or variable.endswith("_FILE"), (name, variable)
            assert "@" not in str(value), (name, variable)


def test_secrets_are_made_once_and_fit_together(tmp_path):
    script = tmp_path / "create-secrets"
    shutil.copy(DOCKER / "create-secrets", script)
    subprocess.run([str(script)], check=True, capture_output=True)
    made = {path.name: path.read_text().strip() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    password = made["postgres_password"]
    assert len(password) == 48
    assert made["database_url"] == f"postgresql://cxr:{password}@postgres:5432/cxr"
    assert made["broker_url"] == f"redis://:{made['redis_conf'].removeprefix('requirepass ')}@redis:6379/0"
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    again = subprocess.run([str(script)], capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "nothing was changed" in again.stderr


def test_the_sample_settings_are_settings(monkeypatch):
    for variable in [name for name in os.environ if name.startswith("CXR_")]:
        monkeypatch.delenv(variable)
    settings = load_settings(DOCKER / "worker.toml")
    assert settings.destinations[0].name == "ORTHANC@orthanc:4242"
    assert settings.calling_ae_titles == ("MODALITY1", "PACS")
    # what image and compose file set must not be contradicted by the sample
    assert set(tomllib.loads((DOCKER / "worker.toml").read_text())).isdisjoint(
        {"host", "port", "data_dir", "database_url", "broker_url", "device"}
    )


def test_image_commands_are_json():
    for line in re.findall(r"^\s*(?:CMD|ENTRYPOINT) (.+)$", DOCKERFILE, re.MULTILINE):
        assert isinstance(json.loads(line), list)
