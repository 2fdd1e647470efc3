"""The live chat in a notebook: the same page, shown below a cell, as long as the object is there.

    talk = space.chat(model, cap=75)            # last in a cell: shows the page
    talk.close()

The server listens on this computer alone; where the notebook runs elsewhere, forward its port.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import escape
from typing_extensions import Self

from persona_lens.errors import ServerError
from persona_lens.interventions.plan import Plan
from persona_lens.server.chatting import PAGE, Chat, chat_layer
from persona_lens.server.limits import Allowed, Limits
from persona_lens.server.other import Other
from persona_lens.server.served import Served
from persona_lens.server.serving import Serving

if TYPE_CHECKING:
    from persona_lens.drift.monitor import Monitor
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

FRAMES = ("'self'", "http://localhost:*", "http://127.0.0.1:*", "vscode-webview:")
"""Whose pages may show the chat: notebooks on this computer."""
_GRACE = 2.0


class LiveChat:
    """A page below a cell, and the server behind it.

    Args:
        serving: Not started yet.
        height: Of the page, in pixels.

    Attributes:
        url: Of the page.
    """

    def __init__(self, serving: Serving, height: int = 820) -> None:
        serving.__enter__()
        self.url = serving.url.removesuffix("/v1") + PAGE
        self._height = height
        self._close = weakref.finalize(self, serving.__exit__)

    def close(self) -> None:
        """End the server; a second time does nothing. It ends too when nothing holds this object."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LiveChat({self.url if self._close.alive else 'closed'})"

    def _repr_html_(self) -> str:
        """What notebooks show."""
        if not self._close.alive:
            return "<p>This chat was closed.</p>"
        address = escape(self.url)
        frame = f'<iframe src="{address}" width="100%" height="{self._height}" style="border: 0"></iframe>'
        return f'{frame}<p><a href="{address}" target="_blank" rel="noopener">{address}</a></p>'


def live_chat(
    space: Space,
    model: PersonaModel,
    *,
    cap: float | None = None,
    plan: Plan | None = None,
    monitor: Monitor | None = None,
    layer: int | None = None,
    other: EndpointSettings | None = None,
    height: int = 820,
) -> LiveChat:
    """What `PersonaSpace.chat` does.

    Args:
        space: Of the model, fitted.
        model: Answers.
        cap: Percentile of the floor of the second column; 75 where no plan is given.
        plan: Acts in the second column instead.
        monitor: For alerts.
        layer: Block that replies are read at; the monitor's, or the first that the plan acts at.
        other: Another OpenAI-compatible server, which may fill the first column.
        height: Of the page, in pixels.

    Raises:
        ServerError: Both a cap and a plan, or the space is of another model.
        SpaceError: The space knows no replies to cap at a percentile of.
    """
    if cap is not None and plan is not None:
        raise ServerError("two plans for one column", expected="cap or plan", remedy="give one")
    floor = 75.0 if cap is None and plan is None else cap
    acting = plan if plan is not None else space.floor(percentile=75.0 if floor is None else floor)
    served, chat = prepared(
        model,
        space,
        acting,
        cap=floor,
        monitor=monitor,
        layer=layer,
        limits=Limits(grace=_GRACE),
        framed_by=FRAMES,
        other=other,
    )
    return LiveChat(Serving(served, port=0, chat=chat), height)


def prepared(
    model: PersonaModel,
    space: Space,
    acting: Plan,
    *,
    cap: float | None = None,
    plans: Mapping[str, Plan] | None = None,
    monitor: Monitor | None = None,
    layer: int | None = None,
    allowed: Allowed | None = None,
    limits: Limits | None = None,
    framed_by: Sequence[str] = (),
    other: EndpointSettings | None = None,
) -> tuple[Served, Chat]:
    """What is served, and its page, whose user is the operator: what is not restricted may be chosen.

    Args:
        model: Answers.
        space: Of the model.
        acting: The plan of the second column.
        cap: Percentile of it, if it is a floor.
        plans: Others, by their names.
        monitor: For alerts.
        layer: Block that replies are read at; the monitor's, or the first that the plan acts at.
        allowed: Restricts what may be chosen.
        limits: Of the server.
        framed_by: Origins whose pages may show the page in a frame.
        other: May fill the first column.

    Raises:
        EndpointError: It needs a key, and there is none.
    """
    another = None if other is None else Other(other)
    given = allowed or Allowed()
    served = Served.of(
        model,
        space,
        default=acting,
        plans=plans,
        monitor=monitor,
        layer=chat_layer(space, acting, monitor) if layer is None else layer,
        allowed=Allowed(
            percentiles=(0.0, 100.0) if given.percentiles is None else given.percentiles,
            layers=tuple(space.layers_) if given.layers is None else given.layers,
        ),
        limits=limits,
    )
    return served, Chat(served, space, cap=cap, framed_by=framed_by, other=another)
