"""What the user configured once for every command: environment variables and `.env` files.

Explicit arguments win, then the process environment, then `.env` in the working folder, then
`.env` in the folder `HUD_HOME` names. Every service address is None until something sets it:
nothing leaves the machine unless told. With a key, HUD_API_URL alone says where all services of a
platform are; a variable of their own says otherwise for one of them. A variable that is set but
empty counts as not set, hides the files below it, and keeps an address from being derived.
Importing this module loads pydantic-settings: do it where a setting is read.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from hud._core.errors import InputError, StoreError, bounded
from hud._core.paths import hud_home
from hud._core.redact import register_secret

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_SECRET_WORDS = ("key", "token", "secret", "password")
# Where a platform has each service, seen from its origin.
_PLACES = {
    "hud_telemetry_url": "/telemetry/v3/api",
    "hud_web_url": "",
    "hud_gateway_url": "/inference",
    "hud_runtime_url": "",
    "hud_rl_url": "/rl",
}


class Settings(BaseSettings):
    """The settings of this process.

    Attributes:
        api_key: The HUD key; goes to the addresses of HUD_… variables and nowhere else.
        hud_api_url: The origin of a platform; the others follow from it when there is a key.
        default_project: The project that what is uploaded belongs to.
        secret_key: What a platform server encrypts the secrets it keeps with.
        telemetry_enabled: Whether rollouts are reported to the platform; they are recorded on
            this machine in any case.
        cli_analytics_enabled: Always False: use is never reported to anyone.
        client_timeout: Seconds a request to a tool server may take; 0 means its own default.
    """

    # Not by field name: a variable that is called API_KEY is somebody else's.
    model_config = SettingsConfigDict(extra="allow")

    hud_telemetry_url: str | None = Field(default=None, alias="HUD_TELEMETRY_URL")
    hud_api_url: str | None = Field(default=None, alias="HUD_API_URL")
    hud_web_url: str | None = Field(default=None, alias="HUD_WEB_URL")
    hud_gateway_url: str | None = Field(default=None, alias="HUD_GATEWAY_URL")
    hud_runtime_url: str | None = Field(default=None, alias="HUD_RUNTIME_URL")
    hud_rl_url: str | None = Field(default=None, alias="HUD_RL_URL")
    api_key: str | None = Field(default=None, alias="HUD_API_KEY", repr=False)
    default_project: str | None = Field(default=None, alias="HUD_DEFAULT_PROJECT")
    secret_key: str | None = Field(default=None, alias="HUD_SECRET_KEY", repr=False)
    anthropic_api_key: str | None = Field(default=None, alias="ANTHROPIC_API_KEY", repr=False)
    aws_access_key_id: str | None = Field(default=None, alias="AWS_ACCESS_KEY_ID", repr=False)
    aws_secret_access_key: str | None = Field(
        default=None, alias="AWS_SECRET_ACCESS_KEY", repr=False
    )
    aws_region: str | None = Field(default=None, alias="AWS_REGION")
    openai_api_key: str | None = Field(default=None, alias="OPENAI_API_KEY", repr=False)
    openai_base_url: str | None = Field(default=None, alias="OPENAI_BASE_URL")
    gemini_api_key: str | None = Field(default=None, alias="GEMINI_API_KEY", repr=False)
    telemetry_enabled: bool = Field(default=True, alias="HUD_TELEMETRY_ENABLED")
    cli_analytics_enabled: bool = Field(default=False, alias="HUD_CLI_ANALYTICS_ENABLED")
    telemetry_local_dir: str | None = Field(default=None, alias="HUD_TELEMETRY_LOCAL_DIR")
    file_tracking_enabled: bool = Field(default=True, alias="HUD_FILE_TRACKING_ENABLED")
    file_tracking_interval: float = Field(default=2.0, gt=0, alias="HUD_FILE_TRACKING_INTERVAL")
    client_timeout: int = Field(default=600, ge=0, alias="HUD_CLIENT_TIMEOUT")

    def __init__(self, **values: Any) -> None:
        """Read the settings; `values` win, by their names here or those of their variables."""
        fields = type(self).model_fields
        super().__init__(
            **{
                str(fields[name].alias) if name in fields else name: value
                for name, value in values.items()
            }
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources; where the files are is looked up at every call."""
        files = DotEnvSettingsSource(
            settings_cls, env_file=[hud_home(create=False) / ".env", Path(".env")]
        )
        return init_settings, env_settings, files, file_secret_settings

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any, info: ValidationInfo) -> Any:
        if value == "" and info.field_name in cls.model_fields:
            return cls.model_fields[info.field_name].get_default()
        return value

    @field_validator("cli_analytics_enabled")
    @classmethod
    def _never_reported(cls, value: bool) -> bool:
        return False

    def model_post_init(self, context: Any, /) -> None:
        # A key that stands in a file is in no environment variable, where redaction finds others.
        for name, value in (*self.__dict__.items(), *(self.model_extra or {}).items()):
            if isinstance(value, str) and any(word in name.lower() for word in _SECRET_WORDS):
                register_secret(value)
        if self.hud_api_url and self.api_key:
            origin = self.hud_api_url.strip().rstrip("/")
            for name, place in _PLACES.items():
                if name not in self.model_fields_set:
                    vars(self)[name] = f"{origin}{place}"

    def __repr__(self) -> str:
        """Leave out secrets, and whatever else a `.env` file holds."""
        shown = {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if field.repr
        }
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    __str__ = __repr__


def read_settings() -> Settings:
    """Read the settings as they are now.

    Raises:
        InputError: when a variable has a value of the wrong kind, or a `.env` file cannot be read.
    """
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise InputError(
            f"setting {name} = {bounded(problem['input'])}: {problem['msg']}",
            hint="correct it in the environment, or in the .env file that sets it",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"a .env file cannot be read: {error}") from error


@cache
def get_settings() -> Settings:
    """Return the settings of this process, read at the first call.

    Raises:
        InputError: as `read_settings`.
    """
    return read_settings()


def save_setting(assignments: Mapping[str, str]) -> Path:
    """Write variables into `.env` in the folder `HUD_HOME` names, and return that file.

    Its other lines stay as they are. The file is replaced as a whole and readable by its owner
    only.

    Raises:
        InputError: for a name that is no variable, or a value that a `.env` file cannot hold.
        StoreError: when the file cannot be written.
    """
    lines = {name: f"{name}={_spelled(name, value)}" for name, value in assignments.items()}
    path = hud_home() / ".env"
    try:
        held = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in held if _assigned(line) not in lines]
        _replace(path, "\n".join([*kept, *lines.values()]) + "\n")
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
    get_settings.cache_clear()
    return path


def _assigned(line: str) -> str | None:
    match = _ASSIGNMENT.match(line)
    return match[1] if match else None


def _spelled(name: str, value: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{bounded(name)!r} is not the name of a setting",
            hint="letters, digits and underscores: OPENAI_API_KEY=…",
        )
    if any(ord(char) < 32 for char in value) or "${" in value:
        raise InputError(
            f"the value of {name} cannot be kept in a .env file",
            hint="it has a line break, a control character or ${ in it",
        )
    if _PLAIN_VALUE.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _replace(path: Path, text: str) -> None:
    # mkstemp gives mode 0600.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".env-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def __getattr__(name: str) -> Any:
    if name == "settings":
        return get_settings()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
