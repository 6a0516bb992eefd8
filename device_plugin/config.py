# SPDX-License-Identifier: Apache-2.0
"""What the plugin is told: a YAML file, and variables FLEXNPU_PLUGIN_* that go before it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from flexnpu.errors import FlexNpuError, InvalidValue
from flexnpu.paths import RuntimeDir
from flexnpu.units import parse_duration, parse_size

ENVIRONMENT = "FLEXNPU_PLUGIN_"
_MOST_SLOTS = 64


def _by(parse: Any) -> BeforeValidator:  # noqa: ANN401 - a function of one text
    def read(value: object) -> object:
        try:
            return parse(value) if isinstance(value, str) else value
        except FlexNpuError as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(read)


def _resource_name(name: str) -> str:
    domain, _, short = name.partition("/")
    if not domain or not short or "/" in short or domain.endswith("kubernetes.io"):
        raise ValueError("write it like example.com/cores, under a domain that is not Kubernetes' own")
    return name


def _cdi(value: object) -> object:
    if value is False:  # YAML's word for off
        return "off"
    if value in ("auto", "off") or (isinstance(value, str | Path) and Path(value).is_absolute()):
        return value if value in ("auto", "off") else Path(str(value))
    raise ValueError("give auto, off or an absolute path")


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("give an absolute path")
    return path


Bytes = Annotated[int, _by(parse_size), Field(ge=2**20)]
Seconds = Annotated[float, _by(parse_duration), Field(ge=0, le=3600)]
Folder = Annotated[Path, AfterValidator(_absolute)]
ResourceName = Annotated[str, Field(max_length=253), AfterValidator(_resource_name)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Slots(_Part):
    """vNPUs of one size. slots: how many a device has; cores, memory: of each, else a device's divided by slots."""

    name: ResourceName = "flexnpu.io/vnpu"
    slots: int = Field(default=8, ge=1, le=_MOST_SLOTS)
    cores: int | None = Field(default=None, ge=1)
    memory: Bytes | None = None


class Cores(_Part):
    """granularity: how many cores one of them is."""

    name: ResourceName = "flexnpu.io/cores"
    granularity: int = Field(default=1, ge=1)


class Memory(_Part):
    """granularity: how much memory one of them is."""

    name: ResourceName = "flexnpu.io/memory"
    granularity: Bytes = 2**30


class Whole(_Part):
    """Devices that nobody else is on."""

    name: ResourceName = "flexnpu.io/device"


class Resources(_Part):
    """What is offered; null: not offered."""

    vnpu: Slots | None = Slots()
    cores: Cores | None = Cores()
    memory: Memory | None = Memory()
    device: Whole | None = Whole()

    @field_validator("memory")
    @classmethod
    def _together(cls, memory: Memory | None, info: Any) -> Memory | None:  # noqa: ANN401 - of pydantic
        if (memory is None) != (info.data.get("cores") is None):
            raise ValueError("cores and memory are offered together, or neither is")
        return memory

    @model_validator(mode="after")
    def _each_its_own(self) -> Self:
        names = [part.name for part in (self.vnpu, self.cores, self.memory, self.device) if part is not None]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two resources have the name {name}")
        if not names:
            raise ValueError("nothing is offered")
        return self


class Config(_Part):
    """All of it.

    daemon: its admin socket; None: of the runtime directory that the environment says. pods_dir: a folder for each
    container. lib_dir: where the libraries are put for containers; None: they are mounted from where this package has
    them. Both are paths of the host. host_root: where the host's / is seen, to look which driver files it has; driver:
    those files, in place of the usual ones. rings: devices that HCCS connects, where that is not all with all.
    unhealthy_after: how long the daemon may be away. forget_after: how long a container has to be gone before its vNPU
    goes. metrics: HOST:PORT.
    """

    resources: Resources = Resources()
    kubelet_dir: Folder = Path("/var/lib/kubelet")
    daemon: Folder | None = None
    placement: Literal["pack", "spread"] = "pack"
    cdi: Annotated[Literal["auto", "off"] | Path, BeforeValidator(_cdi)] = "auto"
    preload: Literal["both", "variable", "file"] = "both"
    pods_dir: Folder = Path("/var/lib/flexnpu/pods")
    lib_dir: Folder | None = None
    host_root: Folder = Path("/")
    driver: tuple[Folder, ...] | None = None
    rings: tuple[tuple[int, ...], ...] = ()
    unhealthy_after: Seconds = 30.0
    forget_after: Seconds = 30.0
    metrics: str | None = Field(default=None, pattern=r"^[^\s]*:\d{1,5}$")

    @property
    def runtime_dir(self) -> Path | None:
        """The daemon's, as flexnpu.client wants it."""
        if self.daemon is None:
            return None
        found = RuntimeDir(self.daemon.parent)
        if found.admin_socket != self.daemon:
            raise InvalidValue(
                f"daemon {self.daemon} is no admin socket of a runtime directory",
                next_step="name the file admin.sock in it",
            )
        return self.daemon.parent

    @property
    def plugins_dir(self) -> Path:
        """Where the kubelet's registration socket is, and the plugin's are to be."""
        return self.kubelet_dir / "device-plugins"

    @property
    def kubelet_socket(self) -> Path:
        return self.plugins_dir / "kubelet.sock"

    @property
    def pod_resources_socket(self) -> Path:
        return self.kubelet_dir / "pod-resources" / "kubelet.sock"


def read_config(file: Path | None, environ: Mapping[str, str]) -> Config:
    """The file's keys with those of the environment over them, each of which is YAML. InvalidValue for what is none."""
    given: dict[str, Any] = {} if file is None else _mapping(_load(_text(file), str(file)), str(file))
    for key in Config.model_fields:
        name = ENVIRONMENT + key.upper()
        if environ.get(name):
            given[key] = _load(environ[name], name)
    try:
        config = Config.model_validate(given)
        config.runtime_dir  # noqa: B018 - raises
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        why = first["msg"].removeprefix("Value error, ")
        known = f"; keys are {', '.join(Config.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise InvalidValue(f"{file or 'the environment'}: {where}: {why}{known}") from error
    return config


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidValue(f"{file} cannot be read ({why})", next_step="name another file with --config") from error


def _load(text: str, what: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidValue(f"{what} is no YAML ({' '.join(str(error).split())})") from error


def _mapping(loaded: object, what: str) -> dict[str, Any]:
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InvalidValue(f"{what} is no mapping", next_step="write it as KEY: VALUE")
    return dict(loaded)
