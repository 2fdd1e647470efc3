"""The live chat on a server: its page, and what the page asks for beside OpenAI's routes.

    chat = Chat(served, space, cap=75)
    Serving(served, chat=chat)          # /chat is the page; everything else is as without it

The page holds nothing but its script; what is said goes through `/v1/chat/completions` like anybody's.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from persona_lens.catalog import load_roles, load_scripts
from persona_lens.conversations import Conversation, ConversationLog
from persona_lens.errors import PersonaLensError, ServerError
from persona_lens.pages.chat.page import chat_page
from persona_lens.pages.trace.tinting import Tint
from persona_lens.server.readings import AXIS, number
from persona_lens.server.refusals import Refusal
from persona_lens.space.calibration import POPULATIONS

if TYPE_CHECKING:
    from persona_lens.drift.monitor import Monitor
    from persona_lens.interventions.plan import Plan
    from persona_lens.server.desk import Desk
    from persona_lens.server.other import Other
    from persona_lens.server.served import Served
    from persona_lens.space import Space

PAGE = "/chat"
MOST_CONVERSATIONS = 500
_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,10}){1,2}$")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Route(NamedTuple):
    """A route beside those of the API.

    Attributes:
        path: Of it.
        handler: Answers.
        method: `GET` or `POST`.
    """

    path: str
    handler: Callable[[Request], Awaitable[Response]]
    method: str = "GET"


class Chat:
    """The page of a server, and its routes.

    Args:
        served: What is served.
        space: Of the model; says where replies of the default and of the roles lie.
        cap: Percentile that the page begins with, where requests may choose one.
        framed_by: Origins whose pages may show it in a frame.
        other: May fill the first column.

    Attributes:
        open: Paths that need no key: the page, which then asks for it.

    Raises:
        ServerError: The cap is not among those that requests may ask for.
    """

    def __init__(
        self,
        served: Served,
        space: Space,
        *,
        cap: float | None = None,
        framed_by: Sequence[str] = (),
        other: Other | None = None,
    ) -> None:
        allowed = served.plans.allowed.percentiles
        if cap is not None and allowed is not None and not allowed[0] <= cap <= allowed[1]:
            raise ServerError(
                "the page cannot begin with this cap",
                expected=f"a percentile from {allowed[0]:g} to {allowed[1]:g}",
                given=cap,
                remedy="change --cap or --allow-percentiles",
            )
        self._page = chat_page(served.name, framed_by=framed_by)
        self._card = {
            **chat_card(served, space, cap),
            "other": None if other is None else other.name,
        }
        self._other = other
        self.open = (PAGE,)

    def routes(self, desk: Desk) -> list[Route]:
        """For the application that works with a desk."""
        other = self._other
        return [
            Route(PAGE, self._document),
            Route("/chat/card", self._told(lambda: self._card)),
            Route("/chat/roles", self._told(_roles)),
            Route("/chat/scripts", self._told(_scripts)),
            Route("/chat/log", self._log, "POST"),
            *([] if other is None else [Route("/chat/other", partial(other.answer, desk), "POST")]),
        ]

    async def _document(self, _request: Request) -> Response:
        headers = {**_HEADERS, "Content-Security-Policy": self._page.policy}
        return Response(self._page.html, media_type="text/html", headers=headers)

    def _told(self, make: Callable[[], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def told(_request: Request) -> Response:
            return _json(await to_thread.run_sync(make))

        return told

    async def _log(self, request: Request) -> Response:
        raw = await request.body()
        name = request.query_params.get("name", "")
        return _json(await to_thread.run_sync(lambda: read_log(raw, name)))


def chat_card(served: Served, space: Space, cap: float | None = None) -> dict[str, Any]:
    """What the page has to know of its server: all that `/v1/models` says, and where replies lie."""
    spread = reference(space, served.reader.layer)
    known = None
    if spread is not None and "role" in spread:
        frame = pd.DataFrame(
            {
                "population": ["default", "roles"],
                "mean": [spread[kind]["mean"] for kind in ("default", "role")],
                "deviation": [spread[kind]["deviation"] for kind in ("default", "role")],
            }
        )
        tint = Tint.of((), frame)
        known = {"middle": tint.middle, "reach": tint.reach}
    reader = space.table.card.get("reader", {})
    return {
        "name": served.name,
        **served.card(),
        "space": str(reader.get("model") or served.name),
        "spread": spread,
        "tint": known,
        "cap": cap,
    }


def chat_layer(space: Space, plan: Plan, monitor: Monitor | None) -> int:
    """Block to read replies at: the monitor's, or the first that the plan acts at and the space covers.

    There the reading before the plan is of a token that nothing has moved yet, and that after it has what is left.
    """
    if monitor is not None and monitor.layer is not None:
        return monitor.layer
    covered = [layer for layer in plan.layers if layer in space.layers_]
    return covered[0] if covered else space.layers_[len(space.layers_) // 2]


def reference(space: Space, layer: int) -> dict[str, dict[str, float]] | None:
    """Mean, standard deviation and number of replies of the default and of the roles along the axis.

    None where the space does not know where replies of the default lie.

    Args:
        space: Fitted.
        layer: Block.
    """
    calibration = space.calibration_
    if calibration is None or AXIS not in calibration.directions:
        return None
    at = space.layer_index(layer), calibration.directions.index(AXIS)
    found: dict[str, dict[str, float]] = {}
    for kind in ("default", "role"):
        place = POPULATIONS.index(kind)
        mean = number(calibration.means[place][at])
        deviation = number(calibration.deviations[place][at])
        if mean is not None and deviation is not None:
            n = int(calibration.counts[place].sum())
            found[kind] = {"mean": mean, "deviation": deviation, "n": n}
    return found if "default" in found else None


def read_log(raw: bytes, name: str) -> dict[str, Any]:
    """What users said in a log that was sent, for a replay.

    Args:
        raw: The file.
        name: Its name, of which the ending counts.

    Raises:
        Refusal: No conversation in it can be read.

    Examples:
        >>> raw = b'{"id": "a", "messages": [{"role": "user", "content": "Hi"}]}'
        >>> read_log(raw, "chats.jsonl")["conversations"]
        [{'id': 'a', 'messages': ['Hi'], 'system': ''}]
    """
    ending = _SUFFIX.search(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"log{ending[0] if ending else '.jsonl'}"
        path.write_bytes(raw)
        log = ConversationLog(path)
        try:
            chats = list(itertools.islice(_replayed(log), MOST_CONVERSATIONS + 1))
        except PersonaLensError as error:
            said = str(error).replace(str(path), name or "the log")
            raise Refusal(f"The log cannot be read: {said}", code="unreadable_log") from None
    more = len(chats) > MOST_CONVERSATIONS
    said = log.report.summary.replace(str(path), name).replace(path.name, name)
    note = f"The first {MOST_CONVERSATIONS} conversations are offered. " if more else ""
    return {"conversations": chats[:MOST_CONVERSATIONS], "report": note + said}


def _replayed(log: ConversationLog) -> Iterator[dict[str, Any]]:
    chat: Conversation
    for chat in log:
        if chat.users:
            first = chat.messages[0]
            system = first.content if first.role == "system" else ""
            yield {"id": chat.id, "messages": list(chat.users), "system": system}


def _roles() -> list[dict[str, Any]]:
    return [{"name": role.name, "prompts": list(role.prompts)} for role in load_roles("full")]


def _scripts() -> list[dict[str, Any]]:
    return [
        {"id": f"{script.domain}: {script.id}", "messages": list(script.messages), "system": ""}
        for script in load_scripts()
    ]


def _json(content: Any) -> Response:
    text = json.dumps(content, allow_nan=False)
    return Response(text, media_type="application/json", headers=_HEADERS)
