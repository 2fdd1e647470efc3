"""An OpenAI-compatible server with a plan acting on what it writes, and numbers of where the replies lie.

    from persona_lens.server import Served, serve

    serve(Served.of(model, space, cap=75), port=8000)

or `persona-lens serve MODEL --space S --cap 75`. A request chooses within what the operator allows, by one object:

    client.chat.completions.create(model=..., messages=..., extra_body={"persona": {"plan": "none"}})

and the reply has one of the same name beside the standard fields. Needs `pip install "persona-lens[serve]"`.
"""

from typing import TYPE_CHECKING

from persona_lens._lazy import lazy_names

if TYPE_CHECKING:
    from persona_lens.server.app import application
    from persona_lens.server.limits import Allowed, Limits
    from persona_lens.server.notebook import LiveChat
    from persona_lens.server.served import Served
    from persona_lens.server.serving import Serving, serve

_HOMES = {
    "Allowed": "persona_lens.server.limits",
    "Limits": "persona_lens.server.limits",
    "LiveChat": "persona_lens.server.notebook",
    "Served": "persona_lens.server.served",
    "Serving": "persona_lens.server.serving",
    "serve": "persona_lens.server.serving",
    "application": "persona_lens.server.app",
}

__all__ = [
    "Allowed",
    "Limits",
    "LiveChat",
    "Served",
    "Serving",
    "application",
    "serve",
]

__getattr__ = lazy_names(__name__, _HOMES)
