"""One shape of error for the whole API: `{"detail", "code", "hint"}`, with the status that fits.

The gateway answers in the shape of each provider's dialect instead.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar, NoReturn

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from hud._core.errors import HudError, InputError, NotFound, StoreError, bounded
from hud._core.redact import redact

logger = logging.getLogger(__name__)


class ErrorBody(BaseModel):
    """What every error of the API looks like.

    Attributes:
        detail: One sentence.
        code: A stable name of the kind of error.
        hint: What can be done about it.
    """

    detail: str
    code: str
    hint: str | None = None


class ApiError(HudError):
    """A request that is refused, with its HTTP status."""

    code: ClassVar[str] = "refused"

    def __init__(
        self, status: int, message: str, *, kind: str = "refused", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.kind = kind


def not_found(noun: str, name: object) -> NoReturn:
    """Refuse: there is no such thing, or it belongs to somebody else, which looks the same.

    Raises:
        ApiError: always, with status 404.
    """
    raise ApiError(404, f"there is no {noun} {bounded(name)}", kind="not_found")


def error_response(status: int, kind: str, detail: str, hint: str | None = None) -> JSONResponse:
    """Return the one shape of error."""
    body = {"detail": redact(detail), "code": kind, "hint": redact(hint) if hint else None}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status_code=status, headers=headers)


def install_handlers(app: FastAPI) -> None:
    """Make `app` answer every exception in the one shape."""
    app.add_exception_handler(HudError, _hud_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


async def _hud_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HudError)
    if isinstance(error, ApiError):
        return error_response(error.status, error.kind, error.message, error.hint)
    if isinstance(error, NotFound):
        # Its sentence is for the terminal: it may name a file of this machine.
        return error_response(404, error.code, "what this names is not here")
    if isinstance(error, InputError):
        return error_response(400, error.code, error.message, error.hint)
    if isinstance(error, StoreError):
        logger.error("%s", error)
        return error_response(503, error.code, error.message, error.hint)
    logger.error("%s", error)
    return error_response(500, error.code, error.message, error.hint)


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kinds = {404: "not_found", 405: "method_not_allowed", 401: "unauthenticated", 413: "too_large"}
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"there is nothing at {bounded(request.url.path)}"
    if error.status_code == 405:
        detail = f"{request.method} is not possible at {bounded(request.url.path)}"
    response = error_response(error.status_code, kinds.get(error.status_code, "refused"), detail)
    if error.headers:
        response.headers.update(error.headers)
    return response


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    detail = f"{bounded(where)}: {bounded(first['msg'], 300)}"
    return error_response(422, "bad_input", detail)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_response(500, "internal", "the server failed at this request; its log says more")
