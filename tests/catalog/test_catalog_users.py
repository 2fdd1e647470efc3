"""Users and scripts: as many and as long as promised, no two alike, and loaded from wherever they lie."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from persona_lens.catalog import Script, Topic, User, load_scripts, load_users, user_domains
from persona_lens.catalog.similarity import Bounds, Pair, search_vectors, search_words, words
from persona_lens.errors import CatalogError
from persona_lens.model.text_embedding import TokenEmbedder

USERS = load_users()
TOPICS = [topic for user in USERS for topic in user.topics]
SCRIPTS = load_scripts()
MESSAGES = [message for script in SCRIPTS for message in script.messages]
ECHOES = {
    "So who walked up the hill to tell me.",
    "So, the river. Low, this year.",
}
"""Messages that come back, on purpose, to one before them in the same script."""

TEXTS = {
    "topics": [topic.text for topic in TOPICS],
    "messages": [message for message in MESSAGES if message not in ECHOES],
    "descriptions": [user.description for user in USERS],
}

# Words by which a message would lean on the particulars of a reply that its writer has not seen.
THINGS = (
    "suggestion|example|version|code|draft|list|outline|idea|option|point|line|function|sentence"
)
UNSEEN = re.compile(
    r"\byou( just| had| have| already)? (mentioned|suggested|listed|proposed|recommended|pointed out)\b"
    rf"|\b({THINGS})s?( that| which)? you( just| had| have)? (gave|made|wrote|said|used|put|sent)\b"
    r"|\byou (said|wrote|told me) (that|about|the|to|earlier)\b"
    r"|\bas you (say|said|put it|suggest)\b(?! it)"
    rf"|\byour ((first|second|third|last|other) )?({THINGS})s?\b"
    rf"|\b(first|second|third|last) ({THINGS})s? (there|above)\b",
    re.IGNORECASE,
)

WORDS: dict[str, Bounds] = {
    "topics": (0.4, 0.4),
    "messages": (0.4, 0.4),
    "descriptions": (0.3, 0.3),
}
MEANING: Bounds = (0.75, 0.75)

KITCHEN = {
    "domain": "kitchen",
    "users": [
        {
            "id": "baker",
            "description": "You bake.",
            "topics": [{"id": "sourdough", "text": "Your starter smells of nail polish."}],
            "scripts": [{"topic": "sourdough", "messages": ["Can I save it?", "How warm?"]}],
        },
        {
            "id": "miller",
            "description": "You mill.",
            "topics": [{"id": "stones", "text": "The stones want dressing."}],
        },
    ],
}


def kitchen(**changes: Any) -> dict[str, Any]:
    """The kitchen, with other fields in its first user."""
    first, *others = json.loads(json.dumps(KITCHEN["users"]))
    return {"domain": "kitchen", "users": [first | changes, *others]}


def alike(texts: Sequence[str], pairs: Sequence[Pair]) -> list[tuple[float, str, str]]:
    return [(round(each.score, 2), texts[each.first], texts[each.second]) for each in pairs]


# What is packaged ------------------------------------------------------------------------------------


def test_there_are_four_domains_with_400_topics_and_80_scripts():
    assert user_domains() == ("coding", "philosophy", "therapy", "writing")
    assert (len(USERS), len(TOPICS), len(SCRIPTS)) == (20, 400, 80)


@pytest.mark.parametrize("domain", user_domains())
def test_a_domain_has_five_users_with_twenty_topics_and_four_scripts(domain: str):
    users = load_users(domain)
    assert [user.domain for user in users] == [domain] * 5
    assert [len(user.topics) for user in users] == [20] * 5
    assert [len(user.scripts) for user in users] == [4] * 5
    assert all(10 <= len(script.messages) <= 12 for script in load_scripts(domain))


def test_ids_are_unique():
    assert len({user.id for user in USERS}) == len(USERS)
    assert len({script.id for script in SCRIPTS}) == len(SCRIPTS)


def test_descriptions_say_in_40_to_90_words_who_somebody_is():
    for user in USERS:
        assert 40 <= len(user.description.split()) <= 90, user.id
        assert re.match(r"You('re| are) ", user.description), user.id


def test_topics_are_one_or_two_sentences():
    for topic in TOPICS:
        assert 6 <= len(topic.text.split()) <= 45, topic
        assert 1 <= len(re.findall(r"[.?!](?=\s|$)", topic.text)) <= 2, topic


def test_messages_are_short_and_of_various_lengths():
    for script in SCRIPTS:
        lengths = [len(message.split()) for message in script.messages]
        assert min(lengths) >= 4, script.id
        assert max(lengths) <= 45, script.id
        assert max(lengths) >= 1.5 * min(lengths), (script.id, lengths)


def test_no_message_leans_on_a_reply_it_has_not_seen():
    assert not [text for text in MESSAGES if UNSEEN.search(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Use the second function you wrote",
        "Your third example is too long",
        "Go back to the tide, as you say.",
        "and the last option there?",
        "You mentioned a cooperative.",
        "why did you say no when you told me that it works",
    ],
)
def test_what_leans_on_a_reply_is_found(text: str):
    assert UNSEEN.search(text)


@pytest.mark.parametrize("family", TEXTS)
def test_no_two_texts_are_the_same(family: str):
    spoken = [tuple(words(text)) for text in TEXTS[family]]
    assert len(set(spoken)) == len(spoken)


@pytest.mark.parametrize(("family", "bounds"), WORDS.items())
def test_no_two_texts_share_their_words(family: str, bounds: Bounds):
    texts = TEXTS[family]
    found = search_words(texts, range(len(texts)), bounds)
    assert not alike(texts, found.pairs)


@pytest.mark.embedded
@pytest.mark.parametrize("family", TEXTS)
def test_no_two_texts_mean_the_same(family: str, embedder: TokenEmbedder):
    texts = TEXTS[family]
    found = search_vectors(embedder(texts), range(len(texts)), MEANING)
    assert not alike(texts, found.pairs)


@pytest.mark.embedded
def test_the_page_tells_what_is_there_and_how_near_the_nearest_are(embedder: TokenEmbedder):
    page = " ".join((Path(__file__).parents[2] / "docs" / "catalog.md").read_text("utf-8").split())
    for domain in user_domains():
        messages = sum(len(script.messages) for script in load_scripts(domain))
        assert f"| `{domain}` | 5 | 100 | 20 | {messages} |" in page
    assert f"Of {len(MESSAGES)} messages, but for {len(ECHOES)} that" in page
    for family in ("messages", "topics"):
        texts = TEXTS[family]
        shared = search_words(texts, range(len(texts)), WORDS[family]).nearest.max()
        cosine = search_vectors(embedder(texts), range(len(texts)), MEANING).nearest.max()
        for highest, limit in ((shared, WORDS[family][0]), (cosine, MEANING[0])):
            assert f"{highest:.2f} ({limit:.2f})" in page, (family, highest)


def test_an_echo_comes_late_in_a_script_and_not_word_for_word():
    for echo in ECHOES:
        assert MESSAGES.count(echo) == 1, echo
        script = next(script for script in SCRIPTS if echo in script.messages)
        assert script.messages.index(echo) >= 2, echo


def test_scripts_do_not_open_alike():
    openings = [" ".join(words(script.messages[0])[:3]) for script in SCRIPTS]
    assert len(set(openings)) == len(openings)


# Loading ---------------------------------------------------------------------------------------------


def test_users_are_named_by_domain_by_id_or_in_a_list():
    coding = load_users("coding")
    first, second = coding[1].id, coding[0].id
    assert load_users([first, second]) == (coding[1], coding[0])
    assert load_users(coding[2]) == (coding[2],)
    assert {user.id for user in coding} <= {user.id for user in USERS}


def test_a_script_knows_where_it_belongs():
    user = load_users("coding")[0]
    script = load_scripts(user.id)[0]
    assert (script.user, script.domain) == (user.id, "coding")
    assert script.topic in user.topics
    assert script.id == f"{user.id}/{script.topic.id}"
    assert load_scripts([script.id, user.scripts[1]]) == (script, user.scripts[1])


@pytest.mark.parametrize("listed", [False, True])
def test_own_users_come_from_a_file(tmp_path: Path, listed: bool):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([KITCHEN] if listed else KITCHEN), "utf-8")
    baker, miller = load_users(str(path))
    assert (baker.domain, miller.scripts) == ("kitchen", ())
    assert load_scripts(path) == baker.scripts
    assert baker.scripts[0].topic.text == "Your starter smells of nail polish."
    assert [user.id for user in load_users(["coding", path])][-2:] == ["baker", "miller"]


def test_own_users_come_from_lines_and_dicts(tmp_path: Path):
    path = tmp_path / "mine.jsonl"
    single = [user | {"domain": "kitchen"} for user in kitchen()["users"]]
    path.write_text("\n".join(map(json.dumps, single)), "utf-8")
    assert load_users(path) == load_users(KITCHEN) == load_users(single)


def test_what_a_file_says_beside_its_users_is_passed_over_with_a_warning():
    with pytest.warns(UserWarning, match="passed over author"):
        load_users(KITCHEN | {"author": "me"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"topics": [], "scripts": []},
            r"users \[0\] 'baker', field topics: is empty.*give at least one",
        ),
        ({"topics": [{"id": "rye"}]}, "has a script of 'sourdough', which is none of its topics"),
        (
            {"topics": [{"id": "sourdough"}]},
            r"topics\[0\].text: Field required.*write each of topics as \{\"id\": ",
        ),
        ({"scripts": [{"topic": "sourdough"}]}, r"scripts\[0\].messages: Field required"),
        ({"scripts": [{"topic": "sourdough", "messages": []}]}, r"scripts\[0\].messages: is empty"),
        (
            {"scripts": [{"topic": "sourdough", "messages": ["a"]}] * 2},
            r"holds 'baker/sourdough' at \[0\] and \[1\]",
        ),
        ({"scripts": [{"topic": "sourdogh", "messages": ["a"]}]}, "did you mean sourdough"),
        ({"topics": [{"id": ["sourdough"], "text": "Smells."}]}, "none of its topics"),
        ({"scripts": [{"topic": 7, "messages": ["a"]}]}, r"field scripts\[0\].topic: "),
        ({"scripts": [{"topic": "sourdough", "messages": "a"}]}, "write .* in square brackets"),
        ({"scripts": ["Can I save it?"]}, r"write each of scripts as \{\"topic\": "),
        ({"age": 7}, "field age: Extra inputs.*a user has the fields id, domain, description"),
        ({"id": "The Baker"}, "field id: .*write 'the_baker'"),
        ({"id": "miller", "scripts": []}, "the user 'miller' is given twice"),
        ({"description": " "}, "field description: is blank"),
    ],
)
def test_a_malformed_user_is_refused_with_place_and_remedy(changes: dict[str, Any], message: str):
    with pytest.raises(CatalogError, match=re.compile(message, re.DOTALL)):
        load_users(kitchen(**changes))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("codign", "unknown user 'codign'.*did you mean coding"),
        (
            ["coding", "coding"],
            r"is given twice: by users, entry \[0\].* and by users, entry \[1\]",
        ),
        (7, "users: is not a user.*given int 7"),
        ({"domain": "kitchen", "users": "baker"}, "field users: is not a list"),
        ({"domain": "kitchen", "users": ["baker"]}, r"users \[0\]: is no user"),
        ({"users": [KITCHEN["users"][1]]}, "field domain: Field required"),
        ("nowhere.json", "nowhere.json: cannot be read"),
        (Path("mine.csv"), "mine.csv: users are read from no such file.*endings .json"),
    ],
)
def test_what_names_no_user_is_refused(spec: Any, message: str):
    with pytest.raises(CatalogError, match=re.compile(message, re.DOTALL)):
        load_users(spec)


def test_what_names_no_script_is_refused():
    known = load_scripts("coding")[0]
    with pytest.raises(CatalogError, match=f"unknown script.*\n.*\n.*did you mean {known.id}"):
        load_scripts(f"{known.id}x")
    with pytest.raises(CatalogError, match="none of these users has one"):
        load_scripts(KITCHEN["users"][1] | {"domain": "kitchen"})


def test_a_user_holds_scripts_of_their_own_topics_alone():
    stones = Topic(id="stones", text="The stones want dressing.")
    script = Script(user="miller", domain="mill", topic=stones, messages=("How deep?",))
    miller = User(
        id="miller", domain="mill", description="You mill.", topics=(stones,), scripts=(script,)
    )
    with pytest.raises(ValidationError, match="frozen"):
        miller.id = "baker"  # pyright: ignore[reportAttributeAccessIssue]
    fields = dict(miller) | {"id": "baker"}
    with pytest.raises(ValidationError, match="has a script of mill/miller"):
        User.model_validate(fields)
    with pytest.raises(ValidationError, match="none of its topics"):
        User.model_validate(dict(miller) | {"topics": (Topic(id="stones", text="Others."),)})
