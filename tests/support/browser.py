"""A real browser for tests: Chromium without a window, driven by Playwright."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect, sync_playwright

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium or Chrome on PATH, in which the page would be opened")
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
PATIENCE = 120_000  # ms, on a machine that does other things
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A Chromium that ends with the module. Playwright runs an event loop meanwhile, and Prefect cannot run in this process until then."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium: Browser, refusals: Sequence[int] = (), **options: Any) -> Iterator[Page]:
    """Give a page of its own profile. At its end it must have had no error, no dialog and no request that leaves this machine.

    refusals: the HTTP statuses that the test provokes. options: what Playwright's `new_context` takes.
    """
    wrong: list[str] = []

    def console(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(f"with a status of {status} " in message.text for status in refusals):
            wrong.append(f"{message.location.get('url')}: {message.text}")

    def asked(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.hostname != "127.0.0.1":
            wrong.append(f"asked for {request.url}")

    def dialog(shown: Dialog) -> None:
        wrong.append(f"a dialog says {shown.message!r}")
        shown.dismiss()

    with chromium.new_context(**options) as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", console)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", asked)
        page.on("dialog", dialog)
        yield page
        assert not wrong, wrong


def serious_faults(page: Page) -> list[str]:
    """Return what axe finds serious or critical in a page as it is now."""
    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{page.url} {one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]
