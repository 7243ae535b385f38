"""Who may do what: every operation times every role, sign-in, sessions, sockets, hosts."""

from __future__ import annotations

import pytest

from tests.api.conftest import NUMBER, TOKENS, World
from trunkline.api.access import CHARGE_ONLINE, RIGHTS, Access, Role, Token, digest
from trunkline.api.app import PUBLIC, ROUTERS
from trunkline.api.describe import document
from trunkline.api.desk import SESSION_COOKIE

OPERATIONS = [
    (path, method, operation)
    for path, methods in document(ROUTERS, PUBLIC)["paths"].items()
    for method, operation in methods.items()
]
IN_PATH = {
    "{subscriber}": NUMBER,
    "{number}": "1",
    "{plan}": "payg",
    "{id}": "nothing",
    "{alarm_id}": "none",
    "{incident_id}": "none",
    "{window_id}": "none",
}


def address(path: str) -> str:
    """A path with something in its holes."""
    for hole, value in IN_PATH.items():
        path = path.replace(hole, value)
    return path


@pytest.mark.anyio
@pytest.mark.parametrize("role", [None, *Role])
async def test_every_operation_asks_for_its_role(world: World, role: Role | None) -> None:
    """An operation answers 401 to nobody, 403 to a lower role, and neither to its own role and the higher ones."""
    async with world.client(role) as client:
        for path, method, operation in OPERATIONS:
            answer = await client.request(method.upper(), address(path))
            if "x-role" not in operation:
                continue
            needed = Role[operation["x-role"].upper()]
            wanted = {401} if role is None else {403} if role < needed else None
            if wanted:
                assert answer.status_code in wanted, (method, path, answer.status_code)
                assert answer.json()["code"] in ("not_signed_in", "not_allowed")
            else:
                assert answer.status_code not in (401, 403), (method, path)
                assert answer.status_code < 500 or answer.status_code == 501, (method, path, answer.text)


def test_what_asks_for_nothing_is_on_the_list() -> None:
    """Only the named routes are public, and each has its reason."""
    public = {path for path, _, operation in OPERATIONS if "x-role" not in operation}
    assert public <= set(PUBLIC)
    assert all(reason for reason in PUBLIC.values())


def test_rights_are_named_once() -> None:
    """One table says who may do what."""
    names = [right.name for right in RIGHTS]
    assert len(set(names)) == len(names)
    used = {operation["x-right"] for _, _, operation in OPERATIONS if "x-right" in operation}
    assert used | {CHARGE_ONLINE.name} == set(names), "network functions ask for theirs by Nchf"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer ", "Basic YTpi", "bearer", "Bearer " + "x" * 5000]
)
async def test_a_wrong_token_opens_nothing(world: World, header: str) -> None:
    """401 tells how to ask, and a wrong token is not helped by a good session."""
    async with world.client(None, {"Authorization": header}) as client:
        answer = await client.get("/api/v1/me")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.anyio
async def test_a_sign_in_link_works_once(world: World) -> None:
    """It sets a session that scripts cannot read and other sites cannot use; the second use leads to the form."""
    code = world.app.state.desk.access.issue_code("nora", Role.CARE)
    async with world.client(None) as client:
        answer = await client.get(f"/signin?code={code}")
        cookie = answer.headers["Set-Cookie"]
        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert (await client.get("/api/v1/me")).json() == {
            "name": "nora", "role": "care",
            "rights": ["watch", "read_tariffs", "read_metrics", "read_person", "watch_network", "operate_network",
                       "choose_delivery"],
        }  # fmt: skip
        assert (await client.get(f"/signin?code={code}")).headers["Location"] == "/#/signin/used"
        assert (await client.delete("/api/v1/session")).status_code == 403
        assert (await client.delete("/api/v1/session", headers={"X-Trunkline": "page"})).status_code == 204
    async with world.client(None) as client:
        assert (await client.get("/api/v1/me")).status_code == 401


@pytest.mark.anyio
async def test_another_site_cannot_use_the_session(world: World) -> None:
    """A change with the cookie alone is refused; with the page's own header it is done."""
    access = world.app.state.desk.access
    caller = access.by_token(TOKENS[Role.BILLING])
    async with world.client(None, {"Cookie": f"{SESSION_COOKIE}={access.open_session(caller)}"}) as client:
        path, order = f"/api/v1/subscribers/{NUMBER}/topups", {"balance": "main", "amount": 1_000_000}
        answer = await client.post(path, json=order)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_page")
        assert (await client.post(path, json=order, headers={"X-Trunkline": "page"})).status_code == 201


@pytest.mark.anyio
async def test_signing_in_with_a_token(world: World) -> None:
    """The page's form trades a token for a session; a wrong token and a foreign form get nothing."""
    page = {"X-Trunkline": "page"}
    async with world.client(None) as client:
        assert (await client.post("/api/v1/session", json={"token": TOKENS[Role.VIEWER]})).status_code == 403
        assert (await client.post("/api/v1/session", json={"token": "no"}, headers=page)).status_code == 401
        assert (
            await client.post("/api/v1/session", json={"token": TOKENS[Role.VIEWER]}, headers=page)
        ).status_code == 204
        assert (await client.get("/api/v1/me")).json()["role"] == "viewer"


@pytest.mark.anyio
async def test_an_administrator_makes_links_for_others(world: World) -> None:
    """The link carries the role that was asked for."""
    async with world.client() as client:
        said = (await client.post("/api/v1/signin-links", json={"name": "jo", "role": "viewer"})).json()
    assert said["link"].startswith("http://127.0.0.1:8450/signin?code=")
    async with world.client(None) as client:
        await client.get(said["link"])
        assert (await client.get("/api/v1/me")).json()["name"] == "jo"


def test_codes_and_sessions_end() -> None:
    """A code is good for an hour, a session for half a day, and only so many are kept."""
    now_s = [0.0]
    access = Access([Token("a", Role.ADMIN, digest("t").upper())], lambda: now_s[0], sessions_max=2)
    late, good = access.issue_code("x", Role.CARE), access.issue_code("x", Role.CARE)
    session = access.redeem(good)
    assert session is not None
    caller = access.by_session(session)
    assert caller is not None
    assert access.still_in(caller)
    now_s[0] = 3600.0
    assert access.redeem(late) is None
    now_s[0] = 12 * 3600.0
    assert access.by_session(session) is None
    assert not access.still_in(caller)
    admin = access.by_token("t")
    assert admin is not None
    assert access.still_in(admin)
    sessions = [access.open_session(admin) for _ in range(3)]
    assert [access.by_session(each) is not None for each in sessions] == [False, True, True]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil:8450", "[::2]:80"]
)
async def test_we_answer_under_our_own_names_only(world: World, host: str) -> None:
    """A foreign name that was bound to our address gets nothing, not even the page."""
    async with world.client(Role.ADMIN, {"Host": host}) as client:
        for path in ("/", "/healthz", "/api/v1/accounting"):
            assert (await client.get(path)).status_code == 421
    for own in ("localhost:99", "[::1]:8450", "LOCALHOST"):
        async with world.client(Role.ADMIN, {"Host": own}) as client:
            assert (await client.get("/healthz")).status_code == 200


@pytest.mark.anyio
async def test_every_answer_carries_the_security_headers(world: World) -> None:
    """Also errors and files."""
    async with world.client() as client:
        for path in ("/", "/page/main.js", "/api/v1/me", "/nothing", "/api/v1/tariffs/none"):
            headers = (await client.get(path)).headers
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] in ("no-store", "no-cache")


@pytest.mark.anyio
async def test_every_error_has_the_one_shape(world: World) -> None:
    """404, 405 (with Allow), 400 for what cannot be understood: code, reason, message and status."""
    async with world.client() as client:
        for method, path, status in [
            ("GET", "/nothing", 404),
            ("PUT", "/api/v1/accounting", 405),
            ("PATCH", "/tmf-api/usageManagement/v4/usage/x", 405),
            ("DELETE", "/tmf-api/prepayBalanceManagement/v4/topupBalance/x", 405),
            ("GET", "/tmf-api/prepayBalanceManagement/v4/transferBalance", 501),
            ("GET", "/api/v1/alerts?after=minus", 400),
            ("GET", "/api/v1/rejects?limit=0", 400),
            ("POST", "/api/v1/subscribers/find", 415),
        ]:
            answer = await client.request(method, path)
            assert answer.status_code == status, (method, path, answer.text)
            assert set(answer.json()) == {"code", "reason", "message", "status"}
            assert answer.json()["status"] == str(status)
            assert status != 405 or answer.headers["Allow"]
