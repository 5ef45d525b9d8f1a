"""What a row says of the Compose project it runs in: the document, and where its files are.

Plain data; `compose_file` reads documents, and running them is a runtime's business.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core.core_schema import ValidationInfo

from hud._core.errors import InputError
from hud.environment.compose_file import read_document

MAIN = "main"
BASE_PATH = "base_path"
"""Key of the validation context: the folder that relative paths in a row start at."""
FOREIGN = "foreign"
"""Key of the validation context: true for rows of others, which name no path of this machine."""


class _Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class ComposePort(_Loose):
    """A port that a service listens on."""

    target: int
    protocol: str = "tcp"


class ComposeHealthcheck(_Loose):
    """How the engine learns whether a service is well."""

    disable: bool | None = None
    test: Annotated[list[str] | None, Field(min_length=1)] = None
    interval: str | None = None
    timeout: str | None = None
    start_period: str | None = None
    start_interval: str | None = None
    retries: int | None = None


class ComposeService(_Loose):
    """One service, normalized; what is not named here is kept as it is."""

    image: str | None = None
    build: str | dict[str, Any] | None = None
    user: str | int | None = None
    environment: dict[str, str] = Field(default_factory=dict[str, str])
    entrypoint: list[str] | None = None
    command: list[str] | None = None
    working_dir: str | None = None
    healthcheck: ComposeHealthcheck | None = None
    network_mode: str | None = None
    expose: list[str] = Field(default_factory=list[str])
    ports: list[ComposePort] = Field(default_factory=list[ComposePort])
    volumes: list[str | dict[str, Any]] = Field(default_factory=list[str | dict[str, Any]])


class ComposeConfig(_Loose):
    """A normalized Compose document; what is not named here is kept as it is."""

    name: str | None = None
    services: dict[str, ComposeService]
    networks: dict[str, dict[str, Any] | None] = Field(
        default_factory=dict[str, dict[str, Any] | None]
    )

    @classmethod
    def from_file(cls, path: Path, *, root: Path | None = None) -> ComposeConfig:
        """Read a Compose file whose project is in `root`, its own folder if None.

        Raises:
            InputError: when it cannot be read, or is no Compose file.
        """
        document = read_document(path, root or path.parent)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}: {where}: {first['msg']}") from error


class ComposeProjectRef(BaseModel):
    """The Compose file of a project that a platform holds, as a path in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compose_path: str


class ComposeProject(BaseModel):
    """Services that run together for one rollout: `main`, which holds the environment, and others.

    Attributes:
        document: A Compose file, or a normalized document.
        root: The folder that the file's paths may reach; the file's own if None.
        service_access: Whether `main` is to reach the engine that runs the services; granted only
            where the runtime was given a socket for that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: Path | ComposeConfig
    root: Path | ComposeProjectRef | None = None
    service_access: bool | None = None

    @field_validator("document", "root", mode="before")
    @classmethod
    def _locate(cls, value: Any, info: ValidationInfo) -> Any:
        context = cast("dict[str, Any]", info.context or {})
        if not isinstance(value, str):
            return value
        if context.get(FOREIGN):
            raise ValueError("names a path of the machine that reads it, so it has to be inlined")
        base = context.get(BASE_PATH)
        return (base / value).resolve() if isinstance(base, Path) else value

    @model_validator(mode="after")
    def _agree(self) -> ComposeProject:
        if self.root is None:
            return self
        if isinstance(self.root, Path) != isinstance(self.document, Path):
            raise ValueError("document and root have to be both paths, or both what a platform has")
        if (
            isinstance(self.root, Path)
            and isinstance(self.document, Path)
            and not self.document.resolve().is_relative_to(self.root.resolve())
        ):
            raise ValueError(f"the Compose file {self.document} is outside its root {self.root}")
        return self

    @property
    def folder(self) -> Path | None:
        """The project's folder on this machine; None for a document without one."""
        if isinstance(self.root, Path):
            return self.root
        return self.document.parent if isinstance(self.document, Path) else None

    def config(self) -> ComposeConfig:
        """Return the normalized document, reading the file if it is one.

        Raises:
            InputError: when it cannot be read.
        """
        if isinstance(self.document, ComposeConfig):
            return self.document
        return ComposeConfig.from_file(self.document, root=self.folder)

    def to_row(self, base: Path | None = None) -> dict[str, Any]:
        """Return what rows hold: paths relative to `base`, or without it the document itself.

        Raises:
            InputError: when the file has to be read and cannot be.
        """
        row: dict[str, Any] = {}
        if isinstance(self.document, Path) and base is not None:
            row["document"] = os.path.relpath(self.document.resolve(), base.resolve())
            if isinstance(self.root, Path):
                row["root"] = os.path.relpath(self.root.resolve(), base.resolve())
        else:
            config = self.config()
            row["document"] = config.model_dump(mode="json", exclude_unset=True, exclude_none=True)
            if isinstance(self.document, Path) and isinstance(self.root, Path):
                inside = self.document.resolve().relative_to(self.root.resolve())
                row["root"] = {"compose_path": inside.as_posix()}
            elif isinstance(self.root, ComposeProjectRef):
                row["root"] = self.root.model_dump(mode="json")
        if self.service_access is not None:
            row["service_access"] = self.service_access
        return row
