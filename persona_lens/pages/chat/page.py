"""Writing the page of the live chat: one document, and the policy that lets nothing else run.

page = chat_page("smollm2-135m-instruct")
page.html, page.policy          # the policy goes into the header Content-Security-Policy
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from persona_lens.pages.shared.script import joined

STYLES = "shared/base.css", "chat/chat.css"


class ChatPage(NamedTuple):
    """The page, and what may run in it.

    Attributes:
        html: The document.
        policy: Its Content-Security-Policy: its own script and style by their hashes, requests to its own
            server, and nothing else; so no text of a message could run even if it became markup.
    """

    html: str
    policy: str


def chat_page(name: str, *, framed_by: Sequence[str] = ()) -> ChatPage:
    """The page of the live chat.

    Args:
        name: Of the model, for the title; the rest the page asks its server for.
        framed_by: Origins whose pages may show it in a frame, as a policy has them; nobody's by default.

    Examples:
        >>> page = chat_page("<script>alert(1)</script>")
        >>> "<script>alert" in page.html, "unsafe" in page.policy
        (False, False)
    """
    pages = files("persona_lens.pages")
    script = f'"use strict";\n{joined("chat/script/start.js")}'
    style = "".join((pages / name).read_text("utf-8") for name in STYLES)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((pages / "chat/chat.html.jinja").read_text("utf-8"))
    html = template.render(
        name=name,
        css=Markup(style),
        script=Markup(script),
        version=importlib.metadata.version("persona-lens"),
    )
    rules = (
        "default-src 'none'",
        f"script-src {_hash(script)}",
        f"style-src {_hash(style)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors " + (" ".join(framed_by) or "'none'"),
    )
    return ChatPage(html, "; ".join(rules))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
