"""The API over the small store in memory, and a client for each role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI

from tests.api.memory_store import MemoryStore
from tests.api.small_catalogue import CATALOGUE, FILES
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions

NOW_US = 1_795_000_000_000_000  # 2026-11-18
NUMBER = "447700900001"
TOKENS = {role: f"{role.name.lower()}-token-of-the-tests" for role in Role}


@dataclass
class World:
    """The application, its store, and a clock that only the test moves."""

    app: FastAPI
    store: MemoryStore
    now_us: int = NOW_US

    def client(
        self, role: Role | None = Role.ADMIN, headers: dict[str, str] | None = None
    ) -> httpx.AsyncClient:
        """A client with this role's token; without one for None."""
        headers = dict(headers or {})
        if role is not None:
            headers["Authorization"] = f"Bearer {TOKENS[role]}"
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8450", headers=headers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """With the background work that a server would start."""
        async with self.app.router.lifespan_context(self.app):
            yield


def make_world(options: ApiOptions | None = None) -> World:
    """A world with two subscribers and no usage."""
    world = World.__new__(World)
    world.now_us = NOW_US
    world.store = MemoryStore(lambda: world.now_us)
    world.store.enrol(NUMBER, 10_000_000, minutes=100)
    world.store.enrol("447700900002", 1_050_000)
    world.app = create_app(
        world.store,
        world.store,
        world.store,
        lambda: CATALOGUE,
        [Token(f"{role.name.lower()}-desk", role, digest(text)) for role, text in TOKENS.items()],
        options or ApiOptions(reference_key=b"k" * 32, live_period_s=0.02, usage_wait_s=0.0),
        reconcile=world.store.reconcile,
        tariff_files=lambda: FILES,
        now_us=lambda: world.now_us,
    )
    return world


@pytest.fixture
def world() -> World:
    """A fresh world."""
    return make_world()


@pytest.fixture
def worlds() -> Callable[[ApiOptions], World]:
    """Worlds with other options."""
    return make_world


@pytest.fixture
def anyio_backend() -> str:
    """The API runs on asyncio."""
    return "asyncio"
