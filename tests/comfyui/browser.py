"""Debian's chromium for tests of the browser interface; a page that keeps what went wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

PATIENCE_MS = 20_000
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio")


@dataclass
class Seen:
    """What a page said and asked.

    Attributes:
        errors: console errors and exceptions.
        failed: ``status method path`` of answers with a status of 400 and more.
        outside: addresses that the page asked for besides the server's.
    """

    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def chromium(home: str) -> AsyncIterator[tuple[Any, Seen]]:
    """A page in a fresh browser, and what is seen of it; skips, loudly, where there is none.

    Requests to anything but ``home`` are answered with nothing: tests stay on this machine.
    """
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if executable is None:
        pytest.skip("CHROMIUM MISSING: the browser interface was NOT looked at")
    api = pytest.importorskip("playwright.async_api", reason="PLAYWRIGHT MISSING: not looked at")
    pytest.importorskip("comfyui_frontend_package", reason="FRONTEND PACKAGE MISSING")
    seen = Seen()

    async def inside(route: Any) -> None:
        if route.request.url.startswith((home, "data:", "blob:")):
            await route.continue_()
        else:
            seen.outside.append(route.request.url)
            await route.abort()

    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable, args=list(ARGUMENTS), headless=True
        )
        try:
            context = await browser.new_context(
                ignore_https_errors=True, viewport={"width": 1440, "height": 900}
            )
            context.set_default_timeout(PATIENCE_MS)
            page = await context.new_page()
            page.on("console", lambda message: _hear(seen, message))
            page.on("pageerror", lambda error: seen.errors.append(str(error)))
            page.on("response", lambda answer: _note(seen, home, answer))
            await context.route("**/*", inside)
            yield page, seen
        finally:
            await browser.close()


def _hear(seen: Seen, message: Any) -> None:
    if message.type == "error":
        seen.errors.append(message.text)


def _note(seen: Seen, home: str, answer: Any) -> None:
    if answer.status >= 400:
        path = answer.url.removeprefix(home)
        seen.failed.append(f"{answer.status} {answer.request.method} {path}")
