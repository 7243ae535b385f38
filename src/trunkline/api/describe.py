"""The OpenAPI 3 description, completed with what FastAPI cannot know: rights, exact bodies, errors in one shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from trunkline import __version__
from trunkline.api.desk import JsonBody, Needs
from trunkline.api.exact import ExactResponse
from trunkline.api.problems import ErrorBody

_ABOUT = """Charging for telecom operators: usage in, balances and money out.

Every operation names the lowest role that may call it (`x-role`): viewer < care < billing < admin.
Errors have one shape everywhere. Telephone numbers are masked unless `numbers=full` is asked for and allowed.
"""
_COMMON_ERRORS = {
    "400": "The request is wrong; the message says where.",
    "429": "Busy; come back after Retry-After.",
}
_GUARD_ERRORS = {"401": "No valid token.", "403": "The role may not do this."}
_TAKEN_BODY_ERRORS = {"413": "The body is too large.", "415": "The body's type is not one we read."}


def response(routers: Sequence[APIRouter], public: Mapping[str, str]) -> Response:
    """The description as a response."""
    return ExactResponse(document(routers, public))


def document(routers: Sequence[APIRouter], public: Mapping[str, str]) -> dict[str, Any]:
    """The description as a value."""
    app = FastAPI(title="trunkline", version=__version__, description=_ABOUT)
    for router in routers:
        app.include_router(router)
    said = app.openapi()
    schemas = said.setdefault("components", {}).setdefault("schemas", {})
    _define(schemas, ErrorBody)
    said["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "trunkline_session"},
    }
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                for method in route.methods or ():
                    _complete(said["paths"][route.path_format][method.lower()], route, schemas, public)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return said


def _complete(
    operation: dict[str, Any], route: APIRoute, schemas: dict[str, Any], public: Mapping[str, str]
) -> None:
    """Add rights, body and errors to one operation."""
    needs = next((each.call for each in route.dependant.dependencies if isinstance(each.call, Needs)), None)
    body = next((each.call for each in route.dependant.dependencies if isinstance(each.call, JsonBody)), None)
    errors = dict(_COMMON_ERRORS)
    if needs is not None:
        operation["security"] = [{"bearer": []}, {"session": []}]
        operation["x-role"] = needs.right.role.name.lower()
        operation["x-right"] = needs.right.name
        errors |= _GUARD_ERRORS
    else:
        operation["x-public"] = public[route.path]
        errors |= _GUARD_ERRORS if route.path == "/api/v1/session" else {}
    if body is not None:
        reference = _define(schemas, body.model)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": reference}}}
    if "requestBody" in operation:
        errors |= _TAKEN_BODY_ERRORS
    if "{" in route.path:
        errors["404"] = "There is no such thing."
    if (route.methods or set()) & {"POST", "DELETE", "PATCH", "PUT"}:
        errors |= {"404": "There is no such thing.", "409": "It cannot be done as things stand."}
    errors |= {"501": "This process cannot do it."}
    responses = operation["responses"]
    responses.pop("422", None)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    for status, text in errors.items():
        responses.setdefault(status, {"description": text, "content": content})


def _define(schemas: dict[str, Any], model: type[BaseModel]) -> dict[str, str]:
    """Put a model's schema among the components; a reference to it."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}", by_alias=True)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema
    return {"$ref": f"#/components/schemas/{model.__name__}"}
