"""Whole casts of users out of the catalogue: its scripts, everyday chats, and people a model plays.

Examples:
    >>> from persona_lens.catalog import load_everyday, load_scripts
    >>> [user.name for user in scripted(load_scripts("night_shift_nurse_coder"))][0]
    'night_shift_nurse_coder/csv_rota'
    >>> everyday(load_everyday("cooking"))[0].about
    {'simulator': 'script', 'domain': 'everyday', 'use': 'cooking'}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from persona_lens.catalog import EverydayChat, Script
from persona_lens.catalog import User as Person
from persona_lens.drift.simulation.played_user import PlayedUser
from persona_lens.drift.simulation.served_user import ServedUser
from persona_lens.drift.simulation.users import ScriptedUser
from persona_lens.endpoints import Endpoint, EndpointSettings

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


def scripted(scripts: Sequence[Script]) -> list[ScriptedUser]:
    """A user for each script of the catalogue, by the name `user/topic`."""
    return [
        ScriptedUser(
            script.messages,
            name=script.id,
            about={"domain": script.domain, "persona": script.user, "topic": script.topic.text},
        )
        for script in scripts
    ]


def everyday(chats: Sequence[EverydayChat]) -> list[ScriptedUser]:
    """A user for each everyday chat."""
    return [
        ScriptedUser(chat.messages, name=chat.id, about={"domain": "everyday", "use": chat.use})
        for chat in chats
    ]


def played(
    model: PersonaModel, people: Sequence[Person], *, topics: int | None = None, **options: Any
) -> list[PlayedUser]:
    """A user for each topic of each person, played by a model; options as for `PlayedUser`.

    Args:
        model: Plays them.
        people: Of the catalogue.
        topics: Of each person, from the first; all by default.
    """
    return [
        PlayedUser(model, person.description, topic, name=name, about=about, **options)
        for person, topic, name, about in _parts(people, topics)
    ]


def served(
    server: EndpointSettings | Endpoint,
    people: Sequence[Person],
    *,
    topics: int | None = None,
    **options: Any,
) -> list[ServedUser]:
    """The same, played by a model behind a server; options as for `ServedUser`."""
    endpoint = Endpoint(server) if isinstance(server, EndpointSettings) else server
    return [
        ServedUser(endpoint, person.description, topic, name=name, about=about, **options)
        for person, topic, name, about in _parts(people, topics)
    ]


def _parts(
    people: Sequence[Person], topics: int | None
) -> Iterator[tuple[Person, str, str, Mapping[str, str]]]:
    for person in people:
        for topic in person.topics[:topics]:
            about = {"domain": person.domain, "persona": person.id}
            yield person, topic.text, f"{person.id}/{topic.id}", about
