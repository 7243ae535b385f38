"""How a person comes in: a link that works once, or a token typed into the page; the page's session is a cookie.

The page itself (static files without any data) is served to everybody, because it is what asks people in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from trunkline.api.access import INVITE, RIGHTS, WATCH, Access, Role
from trunkline.api.desk import PAGE_HEADER, SESSION_COOKIE, AtDesk, By, JsonBody, Needs
from trunkline.api.problems import Problem
from trunkline.api.shapes import InviteAnswer, InviteOrder, TokenOrder, WhoAnswer

PAGE = Path(__file__).parent / "page"
routes = APIRouter(tags=["signing in"])


class PageFiles(StaticFiles):
    """The page's files; browsers ask each time whether theirs is still the one, so an upgrade shows at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file with its caching rule."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def sign_in_link(access: Access, base_url: str, name: str, role: Role) -> str:
    """A link that signs its reader in, once."""
    return f"{base_url.rstrip('/')}/signin?code={quote(access.issue_code(name, role))}"


@routes.get("/", response_class=FileResponse, include_in_schema=False)
def page() -> FileResponse:
    """The page."""
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


@routes.get("/favicon.ico", include_in_schema=False)
def icon() -> FileResponse:
    """The page's sign, for browsers that ask for it unasked."""
    return FileResponse(PAGE / "sign.svg", media_type="image/svg+xml")


@routes.get("/signin", response_class=RedirectResponse, status_code=303, include_in_schema=False)
def sign_in(
    request: Request, desk: AtDesk, code: Annotated[str, Query(max_length=200)] = ""
) -> RedirectResponse:
    """Trade a code for a session and go to the page; a code that is used up leads to the page's own sign-in form."""
    secret = desk.access.redeem(code)
    if secret is None:
        return RedirectResponse("/#/signin/used" if code else "/#/signin", status_code=303)
    response = RedirectResponse("/", status_code=303)
    _set_cookie(request, response, secret, desk.access.session_s)
    return response


@routes.post(
    "/api/v1/session", status_code=204, response_class=Response, summary="Sign in to the page with a token"
)
def open_session(
    request: Request, desk: AtDesk, order: Annotated[TokenOrder, Depends(JsonBody(TokenOrder))]
) -> Response:
    """Trade a bearer token for the page's session cookie."""
    if PAGE_HEADER not in request.headers:
        raise Problem(
            403, "foreign_page", "Signing in by token is for the page; send the header X-Trunkline."
        )
    caller = desk.access.by_token(order.token.strip())
    if caller is None:
        raise Problem(401, "not_signed_in", "This token is not known. Check it, or ask for a sign-in link.")
    response = Response(status_code=204)
    _set_cookie(request, response, desk.access.open_session(caller), desk.access.session_s)
    return response


@routes.delete(
    "/api/v1/session",
    status_code=204,
    dependencies=[Depends(Needs(WATCH))],
    response_class=Response,
    summary="Sign out",
)
def close_session(desk: AtDesk, caller: By) -> Response:
    """End the page's session."""
    desk.access.end_session(caller)
    response = Response(status_code=204)
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


@routes.get("/api/v1/me", dependencies=[Depends(Needs(WATCH))], response_model=WhoAnswer, summary="Who am I?")
def who(caller: By) -> dict[str, Any]:
    """The caller's name, role and rights."""
    rights = [right.name for right in RIGHTS if caller.may(right)]
    return {"name": caller.name, "role": caller.role.name.lower(), "rights": rights}


@routes.post(
    "/api/v1/signin-links",
    dependencies=[Depends(Needs(INVITE))],
    response_model=InviteAnswer,
    summary="Make a sign-in link",
)
def invite(
    request: Request, desk: AtDesk, caller: By, order: Annotated[InviteOrder, Depends(JsonBody(InviteOrder))]
) -> dict[str, Any]:
    """A link for another person, or for oneself on another machine."""
    desk.saw(caller, "invite", detail=f"{order.role} link")
    base = desk.options.public_url or str(request.base_url)
    link = sign_in_link(desk.access, base, order.name, Role[order.role.upper()])
    return {"link": link, "minutes": desk.access.code_s // 60}


def _set_cookie(request: Request, response: Response, secret: str, lasts_s: int) -> None:
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=lasts_s,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
