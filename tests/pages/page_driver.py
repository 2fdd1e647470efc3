"""Opens the atlas in headless Chromium and evaluates JavaScript in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import choreographer
from waiting import PATIENCE


@dataclass(frozen=True)
class Opened:
    """A page in a browser, and what it has complained of."""

    ask: Callable[[str], Any]
    complaints: list[str]


async def started() -> choreographer.Browser:
    return await choreographer.Browser(headless=True)


async def open_page(
    browser: choreographer.Browser, loop: asyncio.AbstractEventLoop, url: str
) -> Opened:
    tab = await browser.create_tab("about:blank")
    complaints: list[str] = []

    async def complain(event: Any) -> None:
        if event["method"] == "Runtime.exceptionThrown" or event["params"].get("type") == "error":
            complaints.append(json.dumps(event["params"]))

    for name in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
        tab.subscribe(name, complain, repeating=True)
    await tab.send_command("Runtime.enable")
    await tab.send_command("Page.navigate", params={"url": url})

    async def evaluate(expression: str) -> Any:
        wanted = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        reply = await tab.send_command("Runtime.evaluate", params=wanted)
        found = reply["result"]
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    end = loop.time() + PATIENCE
    while await evaluate("document.documentElement?.dataset.ready") != "true":
        assert loop.time() < end, f"not drawn within {PATIENCE} s: {complaints}"
        await asyncio.sleep(0.05)
    return Opened(lambda expression: loop.run_until_complete(evaluate(expression)), complaints)
