"""The images of Modal's sandboxes: found by a name, and built when they have to be.

Also maps what Modal's SDK raises; sandboxes are `hud.runtimes.modal`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

from hud._core.errors import HudError, InputError, NotFound, RuntimeFault, bounded
from hud.runtimes.cloud.asks import Asks

if TYPE_CHECKING:
    import modal

_LOGS_S = 30.0
_BUILD_LINES = 20
_BUILD_CHARS = 1_500


class Images:
    """The images that sandboxes of one scope are made from; each is looked up or built once.

    Args:
        app: What builds belong to.
        name: The image, where a row names none.
        image: Instead, one of the SDK.
    """

    def __init__(self, app: modal.App, name: str | None, image: modal.Image | None) -> None:
        self._app = app
        self._name = name
        self._image = image
        self._known: dict[str, modal.Image] = {}
        self._built: set[modal.Image] = set()

    def of(self, asks: Asks) -> tuple[modal.Image, str]:
        """Return the image to use, and how to call it."""
        name = asks.image or self._name
        if name is None:
            assert self._image is not None
            return self._image, "the image"
        if name not in self._known:
            with told(f"image {name}"):
                self._known[name] = _called(name)
        return self._known[name], f"image {name}"

    async def ready(self, asks: Asks) -> None:
        """Have the image found or built; that may take long, and being cancelled leaves nothing.

        Raises:
            RuntimeFault: when it fails, or is not done in the time that a start may take.
        """
        image, what = self.of(asks)
        if image in self._built:
            return
        try:
            async with asyncio.timeout(asks.startup_s):
                await self._build(image, what)
        except TimeoutError as error:
            raise RuntimeFault(
                f"Modal did not build {what} within {asks.startup_s:g} s",
                hint="try again: it goes on building; or raise limits.startup_timeout_s",
            ) from error
        self._built.add(image)

    async def _build(self, image: modal.Image, what: str) -> None:
        """Have an image ready; asked several times at once, Modal builds it once.

        Raises:
            RuntimeFault: with the last lines of the build, when it fails.
        """
        import modal

        try:
            with told(what):
                await image.build.aio(self._app)
        except RuntimeFault as error:
            cause = error.__cause__
            if not isinstance(cause, modal.exception.ImageBuildError):
                raise
            printed = await _build_lines(image)
            raise RuntimeFault(
                f"{error.message}{f'; the build last printed: {printed}' if printed else ''}",
                hint=f"modal image logs {cause.image_id}",
            ) from cause


def _called(name: str) -> modal.Image:
    import modal

    host, slash, _ = name.partition("/")
    if name.startswith("im-"):
        return modal.Image.from_id(name)
    if slash and ("." in host or ":" in host or host == "localhost"):
        return cast("Any", modal.Image).from_registry(name)
    return modal.Image.from_name(name)


async def _build_lines(image: modal.Image) -> str:
    lines: list[str] = []
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_LOGS_S):
            async for entry in image.logs.tail.aio(_BUILD_LINES):
                lines.append(entry.message)  # noqa: PERF401 -- what came before a failure counts
    return "".join(lines).strip()[-_BUILD_CHARS:]


@contextlib.contextmanager
def told(what: str) -> Generator[None]:
    """Map what Modal's SDK raises.

    Raises:
        InputError: when the token, the image or what was asked is at fault.
        RuntimeFault: for everything else.
    """
    from modal import exception

    try:
        yield
    except HudError:
        raise
    except (exception.AuthError, exception.PermissionDeniedError) as error:
        raise InputError(
            f"Modal refuses the token: {bounded(str(error), 300)}",
            hint="see MODAL_TOKEN_ID, or `modal token info`",
        ) from error
    except exception.NotFoundError as error:
        raise NotFound(f"Modal knows no {what}") from error
    except exception.ResourceExhaustedError as error:
        raise RuntimeFault(
            f"Modal's limit is reached: {bounded(str(error), 300)}",
            hint="run fewer at once with --max-concurrent",
        ) from error
    except exception.ImageBuildError as error:
        raise RuntimeFault(f"Modal could not build {what}: {bounded(str(error), 600)}") from error
    except exception.ConflictError as error:
        raise RuntimeFault(f"Modal failed with {what}: {bounded(str(error), 300)}") from error
    except exception.InvalidError as error:
        raise InputError(f"Modal refuses {what}: {bounded(str(error), 300)}") from error
    except Exception as error:
        said = bounded(str(error) or type(error).__qualname__, 300)
        raise RuntimeFault(f"Modal failed with {what}: {said}") from error
