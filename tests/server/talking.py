"""The live chat's page, as somebody uses it."""

from __future__ import annotations

import json

from page_driver import Opened
from waiting import happens

LANES = """[...document.querySelectorAll(".turn:last-child .said.model")].map(
    (each) => each.textContent)"""
MESSAGES = """[...document.querySelectorAll(".turn .said.user")].map((each) => each.textContent)"""
COLOURS = """new Set([...document.querySelectorAll(".reply.plan .said span")].map(
    (each) => each.style.backgroundColor)).size"""
ASKED = """document.getElementById("key-form")?.hidden === false"""
SAVED = """(() => {
    globalThis.saved = [];
    URL.createObjectURL = (blob) => { saved.push(blob.text()); return "#"; };
    HTMLAnchorElement.prototype.click = () => {};
})()"""


class Page:
    """The page, as somebody uses it."""

    def __init__(self, opened: Opened) -> None:
        self.ask, self.complaints = opened.ask, opened.complaints

    def idle(self) -> None:
        assert happens(lambda: self.ask("document.documentElement.dataset.busy") == "false")

    def click(self, name: str, *, wait: bool = True) -> None:
        self.ask(f"byId({json.dumps(name)}).click()")
        if wait:
            self.idle()

    def type(self, name: str, text: str) -> None:
        event = "input" if name in ("message", "system") else "change"
        setting = f"byId({json.dumps(name)}).value = {json.dumps(text)}"
        self.ask(f"{setting}; byId({json.dumps(name)}).dispatchEvent(new Event('{event}'))")

    def send(self, text: str, *, wait: bool = True) -> None:
        self.type("message", text)
        self.click("send", wait=wait)

    def text(self, selector: str) -> str:
        return self.ask(f"document.querySelector({json.dumps(selector)}).textContent")

    def count(self, selector: str) -> int:
        return self.ask(f"document.querySelectorAll({json.dumps(selector)}).length")

    def saved(self, name: str) -> str:
        self.ask(SAVED)
        self.click(name)
        return self.ask("saved[0]")
