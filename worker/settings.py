"""The settings of every role, from one TOML file and the environment; the only reader of either.

Order of precedence: ``CXR_NAME``, then ``CXR_NAME_FILE`` (a file that holds the value, for secrets),
then the TOML file (``--config`` or ``CXR_CONFIG``), then the default.
"""

from __future__ import annotations

import ipaddress
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from worker.destination import AETitle, Destination
from worker.entry import ALGORITHMS
from worker.errors import SettingsError

AlgorithmChoice = Literal["two-stage", "bs-net", "both"]

PREFIX = "CXR_"
_NOT_SETTINGS = {"CXR_CONFIG", "CXR_DATASET", "CXR_REQUIRE_SERVERS"}


def _none_if_zero(value: object) -> object:
    return None if value in (0, "0") else value


class Settings(BaseSettings):
    """Every setting, validated; unknown names are errors."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    data_dir: Path = Path("./data")
    database_url: str = Field(default="", repr=False)
    broker_url: str = Field(default="memory://", repr=False)
    spool_url: str = Field(default="", repr=False)
    spool_options: dict[str, Any] = Field(default_factory=dict, repr=False)

    ae_title: AETitle = "CXRWORKER"
    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, le=65535)
    allowed_calling_ae_titles: Annotated[tuple[str, ...] | None, NoDecode] = None
    require_called_ae_title: bool = False
    allowed_addresses: Annotated[tuple[str, ...], NoDecode] = ()
    maximum_associations: int = Field(default=25, ge=1)
    maximum_instance_mb: int = Field(default=512, ge=1)
    maximum_buffered_mb: int = Field(default=2048, ge=1)
    minimum_free_mb: int = Field(default=512, ge=0)

    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    tls_require_client_certificate: bool = True

    destinations: Annotated[tuple[Destination, ...], NoDecode] = ()
    language: str = "en-US"
    grade_severity: bool = False
    priors_within_s: float = Field(default=15.0, gt=0)

    algorithm: AlgorithmChoice = "two-stage"
    weights: Path | None = None
    bsnet_weights: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    concurrency: int = Field(default=1, ge=1)
    maximum_memory_mb: Annotated[int | None, BeforeValidator(_none_if_zero)] = Field(default=4096, ge=1024)

    maximum_attempts: int = Field(default=3, ge=1)
    claim_timeout_s: float = Field(default=300.0, gt=0)
    delivery_give_up_after_s: float = Field(default=7 * 86400.0, gt=0)
    sweep_interval_s: float = Field(default=5.0, gt=0)
    ring_again_after_s: float = Field(default=60.0, gt=0)
    keep_delivered_s: float = Field(default=7 * 86400.0, ge=0)
    keep_entries_s: float | None = Field(default=None, ge=0)
    keep_results_s: float | None = Field(default=None, ge=0)

    web_port: int | None = Field(default=None, ge=0, le=65535)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment above what ``load_settings`` read from files."""
        return env_settings, init_settings

    @field_validator("destinations", mode="before")
    @classmethod
    def _read_destinations(cls, value: object) -> object:
        items = _as_list(value)
        return [Destination.parse(item) if isinstance(item, str) else item for item in items]

    @field_validator("destinations")
    @classmethod
    def _destinations_differ(cls, value: tuple[Destination, ...]) -> tuple[Destination, ...]:
        if len({destination.name for destination in value}) != len(value):
            raise ValueError("two destinations have the same AET@host:port or URL")
        return value

    @field_validator("allowed_addresses", mode="before")
    @classmethod
    def _read_addresses(cls, value: object) -> object:
        networks = _as_list(value)
        for network in networks:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                raise ValueError(
                    f"{network!r} is neither an address nor a network such as 10.0.0.0/8"
                ) from None
        return networks

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if self.tls_certificate and self.tls_require_client_certificate and not self.tls_ca:
            raise ValueError(
                "tls_ca is missing: name the certificates that vouch for senders, "
                "or set tls_require_client_certificate = false"
            )
        return self

    @model_validator(mode="after")
    def _claims_outlast_archives(self) -> Self:
        asked = any(destination.priors for destination in self.destinations)
        if asked and self.priors_within_s > self.claim_timeout_s / 2:
            raise ValueError("priors_within_s is more than half of claim_timeout_s: no time is left to score")
        return self

    @field_validator("allowed_calling_ae_titles", mode="before")
    @classmethod
    def _read_ae_titles(cls, value: object) -> object:
        return None if value is None else _as_list(value)

    @field_validator("spool_options", mode="before")
    @classmethod
    def _read_options(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _url_is_readable(cls, value: str) -> str:
        try:
            make_url(value or "sqlite://")
        except ArgumentError:
            raise ValueError("not a SQLAlchemy URL such as postgresql+psycopg://user@host/name") from None
        return value

    @property
    def database(self) -> URL:
        """Where the journal lives; SQLite in the data folder unless set."""
        if not self.database_url:
            return URL.create("sqlite", database=str(self.data_dir.absolute() / "journal.sqlite3"))
        url = make_url(self.database_url)
        return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The names of the algorithms that score, in the order in which their results are told."""
        return ALGORITHMS if self.algorithm == "both" else (self.algorithm,)

    @property
    def explains(self) -> bool:
        """Whether some destination wants to see why a score is what it is."""
        return any("map" in destination.send for destination in self.destinations)

    @property
    def embedded(self) -> bool:
        """Whether the queue lives in this process, so that nothing else can share the work."""
        return self.broker_url.startswith("memory:")

    @property
    def calling_ae_titles(self) -> tuple[str, ...]:
        """Who may open an association: as set; else everyone on loopback and nobody elsewhere."""
        if self.allowed_calling_ae_titles is not None:
            return self.allowed_calling_ae_titles
        return ("*",) if _is_loopback(self.host) else ()


def load_settings(config: Path | None = None) -> Settings:
    """Return the settings of this process.

    Parameters
    ----------
    config : pathlib.Path, optional
        The TOML file; ``CXR_CONFIG`` names it otherwise.

    Raises
    ------
    SettingsError
        With the names of the settings that are unknown or wrong; never with a secret's value.
    """
    path = config or (Path(os.environ["CXR_CONFIG"]) if os.environ.get("CXR_CONFIG") else None)
    values: dict[str, Any] = {} if path is None else _read_toml(path)
    values.update(_read_secret_files())
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except ValueError as error:
        raise SettingsError(f"settings: {error}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"settings file {path} cannot be read ({error.strerror}): check --config or CXR_CONFIG"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None


def _read_secret_files() -> dict[str, str]:
    values = {}
    for variable, path in os.environ.items():
        if not (variable.startswith(PREFIX) and variable.endswith("_FILE")):
            continue
        field = variable.removeprefix(PREFIX).removesuffix("_FILE").lower()
        if field not in Settings.model_fields:
            continue
        try:
            values[field] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise SettingsError(
                f"{variable} names {path}, which cannot be read: check path and rights"
            ) from None
    return values


def _refuse_unknown_variables() -> None:
    for variable in os.environ:
        if not variable.startswith(PREFIX) or variable in _NOT_SETTINGS:
            continue
        name = variable.removeprefix(PREFIX).split("__")[0].lower()
        if name not in Settings.model_fields and name.removesuffix("_file") not in Settings.model_fields:
            raise SettingsError(f"environment variable {variable} is no setting: see the README's table")


def _as_list(value: object) -> list[Any]:
    if isinstance(value, str):
        text = value.strip()
        value = json.loads(text) if text.startswith("[") else [part for part in text.split(",") if part]
    if isinstance(value, list | tuple):
        return [item.strip() if isinstance(item, str) else item for item in value]
    raise ValueError("expected a list")


def _explain(error: ValidationError) -> str:
    parts = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in problem["loc"]) or "settings"
        unknown = problem["type"] == "extra_forbidden"
        parts.append(f"{name}: {'no such setting' if unknown else problem['msg']}")
    return "settings: " + "; ".join(parts)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
