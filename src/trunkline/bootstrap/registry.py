"""The registry of schemas over HTTP, as Confluent's serializers and deserializers ask for it.

It is their interface as far as reading goes, so they work unchanged. Nothing is changed over it but by the command
line, where a person sees what would break.
"""

from __future__ import annotations

import base64
import binascii
import time
from threading import Lock
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Header, HTTPException
from fastapi.responses import JSONResponse
from starlette.requests import Request

from trunkline.api.access import READ_TARIFFS, Access
from trunkline.engines.kafka.client import Lost, Server
from trunkline.engines.kafka.registry import Registry
from trunkline.engines.plan import Plan
from trunkline.engines.schemas.book import Book, Version
from trunkline.engines.schemas.shapes import Kind, Schema

PATH = "/schema-registry"
_FRESH_S = 1.0


class Shelf:
    """The book for readers of many threads, never older than a moment."""

    def __init__(self, server: Server, plan: Plan) -> None:
        """Nothing is read before it is asked for."""
        self._registry = Registry(server, plan)
        self._lock = Lock()
        self._read_s = -_FRESH_S

    def book(self) -> Book:
        """What the registry says; raises `Lost` when the brokers do not answer."""
        with self._lock:
            if time.monotonic() - self._read_s >= _FRESH_S:
                self._registry.read()
                self._read_s = time.monotonic()
            return self._registry.book


class _NotSo(Exception):
    """An answer in the words of Confluent's registry: status, its own number of the trouble, a sentence."""

    def __init__(self, status: int, code: int, text: str) -> None:
        self.status, self.code, self.text = status, code, text
        super().__init__(text)


_NO_SUBJECT = 404, 40401, "There is no such subject."
_NO_VERSION = 404, 40402, "The subject has no such version."
_NO_SCHEMA = 404, 40403, "There is no such schema."
_BY_COMMAND = (
    403,
    40301,
    "Schemas are added by trunkline cluster schemas add SUBJECT FILE; set auto.register.schemas=false.",
)


def registry_app(shelf: Shelf, access: Access) -> FastAPI:
    """The registry over HTTP, for callers with a token: as bearer, or as the password of basic authentication."""

    def allowed(authorization: Annotated[str, Header()] = "") -> None:
        caller = access.by_token(_token(authorization))
        if caller is None or not caller.may(READ_TARIFFS):
            raise HTTPException(401, "Name a token.", {"WWW-Authenticate": 'Basic realm="trunkline"'})

    app = FastAPI(
        title="trunkline schemas",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(allowed)],
    )

    def not_so(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, _NotSo), "nothing else comes here"
        return JSONResponse({"error_code": error.code, "message": error.text}, error.status)

    def no_brokers(_request: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"error_code": 50003, "message": "The brokers do not answer; ask again."}, 503)

    app.add_exception_handler(_NotSo, not_so)
    app.add_exception_handler(Lost, no_brokers)
    _by_number(app, shelf)
    _by_subject(app, shelf)
    return app


def _by_number(app: FastAPI, shelf: Shelf) -> None:
    @app.get("/schemas/ids/{number}")
    def schema(number: int) -> dict[str, Any]:
        found = shelf.book().numbers.get(number)
        if found is None:
            raise _NotSo(*_NO_SCHEMA)
        return _typed({"schema": found.text}, found)

    @app.get("/schemas/ids/{number}/versions")
    def places(number: int) -> list[dict[str, Any]]:
        versions = [each for name in shelf.book().subjects for each in shelf.book().versions(name)]
        return [{"subject": v.subject, "version": v.version} for v in versions if v.number == number]


def _by_subject(app: FastAPI, shelf: Shelf) -> None:
    def versions(subject: str) -> list[Version]:
        found = shelf.book().versions(subject)
        if not found:
            raise _NotSo(*_NO_SUBJECT)
        return found

    @app.get("/subjects")
    def subjects() -> list[str]:
        return sorted(name for name, known in shelf.book().subjects.items() if known)

    @app.get("/subjects/{subject}/versions")
    def numbers(subject: str) -> list[int]:
        return [each.version for each in versions(subject)]

    @app.get("/subjects/{subject}/versions/{version}")
    def version_of(subject: str, version: str) -> dict[str, Any]:
        known = {str(each.version): each for each in versions(subject)}
        found = versions(subject)[-1] if version in ("latest", "-1") else known.get(version)
        if found is None:
            raise _NotSo(*_NO_VERSION)
        return _told(found)

    @app.post("/subjects/{subject}")
    def look_up(subject: str, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        return _told(_found(versions(subject), body, _NO_SCHEMA))

    @app.post("/subjects/{subject}/versions")
    def register(subject: str, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        return {"id": _found(shelf.book().versions(subject), body, _BY_COMMAND).number}

    @app.post("/compatibility/subjects/{subject}/versions/latest")
    def judge(subject: str, body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        versions(subject)
        wrong = shelf.book().judge(subject, _schema(body))
        return {"is_compatible": not wrong, "messages": wrong}

    @app.get("/config/{subject}")
    def rule(subject: str) -> dict[str, str]:
        found = shelf.book().rules.get(subject)
        if found is None:
            raise _NotSo(*_NO_SUBJECT)
        return {"compatibilityLevel": found.value}


def _token(header: str) -> str:
    kind, _, told = header.partition(" ")
    if kind.lower() != "basic":
        return told.strip()
    try:
        return base64.b64decode(told, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _schema(body: dict[str, Any]) -> Schema:
    try:
        kind, text = Kind(body.get("schemaType") or "AVRO"), str(body["schema"])
        schema = Schema(kind, text)
        return Schema.of(kind, schema.body)
    except (KeyError, ValueError) as error:
        raise _NotSo(422, 42201, "The body holds no schema that can be read.") from error


def _found(known: list[Version], body: dict[str, Any], otherwise: tuple[int, int, str]) -> Version:
    """The version that says the same, however it is written down: fields of an object may stand in any order."""
    asked = _schema(body)
    for version in reversed(known):
        if version.schema.kind is asked.kind and version.schema.body == asked.body:
            return version
    raise _NotSo(*otherwise)


def _told(version: Version) -> dict[str, Any]:
    told = {"subject": version.subject, "version": version.version, "id": version.number}
    return _typed({**told, "schema": version.schema.text}, version.schema)


def _typed(told: dict[str, Any], schema: Schema) -> dict[str, Any]:
    return told if schema.kind is Kind.AVRO else {**told, "schemaType": schema.kind.value}
