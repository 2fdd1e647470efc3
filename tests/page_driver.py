"""Opens pages in headless Chromium and evaluates JavaScript in them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import choreographer
from waiting import PATIENCE

READY = "document.documentElement?.dataset.ready === 'true'"


@dataclass(frozen=True)
class Opened:
    """A page in a browser, and what it has complained of."""

    ask: Callable[[str], Any]
    complaints: list[str]


async def started() -> choreographer.Browser:
    return await choreographer.Browser(headless=True)


async def open_page(
    browser: choreographer.Browser,
    loop: asyncio.AbstractEventLoop,
    url: str,
    waits: str = READY,
) -> Opened:
    tab = await browser.create_tab("about:blank")
    complaints: list[str] = []

    async def complain(event: Any) -> None:
        told = event["params"]
        logged = told.get("entry", {})
        # That a request was refused is no fault of the page, which says so itself.
        refused = logged.get("source") == "network"
        error = "error" in (told.get("type"), logged.get("level")) and not refused
        if event["method"] == "Runtime.exceptionThrown" or error:
            complaints.append(json.dumps(told))

    for name in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
        tab.subscribe(name, complain, repeating=True)
    await tab.send_command("Runtime.enable")
    await tab.send_command("Log.enable")
    await tab.send_command("Page.navigate", params={"url": url})

    async def evaluate(expression: str) -> Any:
        wanted = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        reply = await tab.send_command("Runtime.evaluate", params=wanted)
        found = reply["result"]
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    end = loop.time() + PATIENCE
    while not await evaluate(waits):
        assert loop.time() < end, f"not drawn within {PATIENCE} s: {complaints}"
        await asyncio.sleep(0.05)
    return Opened(lambda expression: loop.run_until_complete(evaluate(expression)), complaints)
