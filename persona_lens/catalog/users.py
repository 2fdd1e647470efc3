"""Users who talk to a model about coding, writing, therapy or philosophy, and what they say.

The conversation decides how far a model drifts from its Assistant: bounded tasks hold it, questions
about what it is or feels pull it away. Each packaged user has a description for whoever plays them,
twenty topics, and four scripts: messages that make sense whatever the model answers, so that the
same conversation can be held with any model and without a second one.

Examples:
    >>> users = load_users("coding")
    >>> len(users), len(users[0].topics)
    (5, 20)
    >>> script = load_scripts("night_shift_nurse_coder/csv_rota")[0]
    >>> script.domain, len(script.messages) >= 10
    ('coding', True)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from persona_lens.catalog.documents import read_values
from persona_lens.catalog.kinds import SCRIPT, USER
from persona_lens.catalog.mappings import PassedOver
from persona_lens.catalog.schema import Script, User
from persona_lens.catalog.validation import brief, once, validated
from persona_lens.errors import CatalogError
from persona_lens.spelling import did_you_mean

UserSpec: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any] | User | Sequence[Any]"
"""What `load_users` accepts."""

_SUFFIXES = (".json", ".jsonl", ".yaml", ".yml")


def user_domains() -> tuple[str, ...]:
    """The packaged domains, in alphabetical order.

    Examples:
        >>> "coding" in user_domains()
        True
    """
    return tuple(_packaged())


def load_users(spec: UserSpec = "all") -> tuple[User, ...]:
    """Return the users that `spec` names, in its order.

    Args:
        spec: One of these, or a sequence that mixes them:

            - "all", for every packaged user;
            - the name of a domain (`user_domains`) or the id of a packaged user;
            - a JSON, JSON Lines or YAML file (a string with such an ending, or a Path) that holds
              `{"domain": "kitchen", "users": [{"id": "baker", "description": "You are ...",
              "topics": [{"id": "sourdough", "text": "..."}],
              "scripts": [{"topic": "sourdough", "messages": ["...", "..."]}]}]}`,
              where `scripts` may be left out; or a list of these;
            - a dict of that form, the dict of one user (`domain` among its fields), or a User.

    Raises:
        CatalogError: A user is malformed, unknown or given twice, or a file is unreadable.

    Examples:
        >>> [user.domain for user in load_users("night_shift_nurse_coder")]
        ['coding']
        >>> starter = {"id": "sourdough", "text": "Your starter smells of nail polish."}
        >>> baker = {"id": "baker", "description": "You bake.", "topics": [starter]}
        >>> [user.id for user in load_users({"domain": "kitchen", "users": [baker]})]
        ['baker']
    """
    return once(USER, _expand(spec, "users"))


def load_scripts(spec: UserSpec | Script = "all") -> tuple[Script, ...]:
    """Return the scripts of the users that `spec` names, in its order.

    Args:
        spec: What `load_users` takes; or the id of a packaged script (`<user>/<topic>`), or a
            Script; or a sequence that mixes them.

    Raises:
        CatalogError: As `load_users`; or none of the users has a script.

    Examples:
        >>> scripts = load_scripts("night_shift_nurse_coder")
        >>> len(scripts), scripts[0].user
        (4, 'night_shift_nurse_coder')
        >>> scripts[0] == load_scripts(scripts[0].id)[0]
        True
    """
    scripts = once(SCRIPT, _scripts(spec, "scripts"))
    if not scripts:
        raise CatalogError(
            "scripts: none of these users has one",
            given=brief(spec),
            remedy='add "scripts" to a user, or have a simulated user play the topics',
        )
    return scripts


def _expand(spec: object, where: str) -> Iterator[tuple[str, User]]:
    """Yield the users of `spec`, each with the words that say where it came from."""
    match spec:
        case "all":
            for users in _packaged().values():
                yield from ((f"{where} (all)", user) for user in users)
        case User():
            yield where, spec
        case Mapping():
            yield from _of_mapping(spec, where)
        case str() if not _is_file(spec):
            yield from ((f"{where} ({spec})", user) for user in _named(spec, where))
        case str() | os.PathLike():
            yield from _of_file(Path(spec).expanduser())
        case [*items]:
            for index, item in enumerate(items):
                yield from _expand(item, f"{where}, entry [{index}]")
        case _:
            raise CatalogError(
                f"{where}: is not a user",
                expected="a domain, an id, a file, a dict or a User",
                given=f"{type(spec).__name__} {brief(spec)}",
                remedy="see load_users for what it accepts",
            )


def _scripts(spec: object, where: str) -> Iterator[tuple[str, Script]]:
    match spec:
        case Script():
            yield where, spec
        case str() if "/" in spec and not _is_file(spec):
            yield f"{where} ({spec})", _named_script(spec, where)
        case [*items]:
            for index, item in enumerate(items):
                yield from _scripts(item, f"{where}, entry [{index}]")
        case _:
            for place, user in _expand(spec, where):
                yield from ((place, script) for script in user.scripts)


def _is_file(spec: str) -> bool:
    return spec.lower().endswith(_SUFFIXES)


def _of_file(path: Path) -> Iterator[tuple[str, User]]:
    if path.suffix.lower() not in _SUFFIXES:
        raise CatalogError(
            f"{path}: users are read from no such file",
            expected=f"a file with one of the endings {', '.join(_SUFFIXES)}",
            remedy="see load_users for what such a file holds",
        )
    for where, value in read_values(USER, path):
        yield from _expand(value, where)


def _of_mapping(given: Mapping[str, Any], where: str) -> Iterator[tuple[str, User]]:
    """The users of one domain, or one user."""
    if "users" not in given:
        yield where, _user(given, where)
        return
    users = given["users"]
    if not isinstance(users, list | tuple):
        raise CatalogError(
            f"{where}, field users: is not a list", given=brief(users), remedy="write [{...}, ...]"
        )
    passed_over = PassedOver()
    passed_over.note(where, {*given} - {"domain", "users"})
    passed_over.warn()
    domain = {"domain": given["domain"]} if "domain" in given else {}
    for index, user in enumerate(users):
        place = f"{where}, users [{index}]"
        yield place, _user(domain | dict(user) if isinstance(user, Mapping) else user, place)


def _user(value: object, where: str) -> User:
    if isinstance(value, User):
        return value
    if not isinstance(value, Mapping):
        raise CatalogError(f"{where}: is no user", expected="a dict of fields", given=brief(value))
    scripts = value.get("scripts")
    if isinstance(scripts, list | tuple):
        value = {**value, "scripts": [_script(value, each, where) for each in scripts]}
    return validated(USER, value, where)


def _script(user: Mapping[str, Any], script: Any, where: str) -> Any:
    """The script with all that a Script has; one that is malformed is left to the schema."""
    if not isinstance(script, Mapping):
        return script
    script = {"user": user.get("id"), "domain": user.get("domain")} | dict(script)
    name, topics = script.get("topic"), user.get("topics")
    if not isinstance(name, str) or not isinstance(topics, list | tuple):
        return script
    known = {
        each["id"]: each
        for each in topics
        if isinstance(each, Mapping) and isinstance(each.get("id"), str)
    }
    if name not in known:
        raise CatalogError(
            f"{where} {user.get('id')!r}: has a script of {name!r}, which is none of its topics",
            expected="the id of a topic",
            remedy=did_you_mean(name, known, "add it to the topics"),
        )
    return script | {"topic": known[name]}


def _named(name: str, where: str) -> tuple[User, ...]:
    packaged = _packaged()
    if name in packaged:
        return packaged[name]
    users = {user.id: user for users in packaged.values() for user in users}
    if name in users:
        return (users[name],)
    raise CatalogError(
        f"{where}: unknown user {name!r}",
        expected=f"all, a domain ({', '.join(packaged)}) or the id of a packaged user",
        remedy=did_you_mean(
            name, [*packaged, *users], "give your own users as a dict or a .json file"
        ),
    )


def _named_script(name: str, where: str) -> Script:
    known = {
        script.id: script
        for users in _packaged().values()
        for user in users
        for script in user.scripts
    }
    if name in known:
        return known[name]
    raise CatalogError(
        f"{where}: unknown script {name!r}",
        expected="the id of a packaged script: <user>/<topic>",
        remedy=did_you_mean(name, known, "load_scripts() has them all"),
    )


@cache
def _packaged() -> dict[str, tuple[User, ...]]:
    """The users of each packaged domain."""
    folder = files("persona_lens.catalog") / "data" / "users"
    found: dict[str, tuple[User, ...]] = {}
    for source in sorted(folder.iterdir(), key=lambda each: each.name):
        content = json.loads(source.read_text("utf-8"))
        found[content["domain"]] = tuple(user for _, user in _of_mapping(content, source.name))
    return found
