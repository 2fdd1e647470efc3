"""Requests and replies by the official client, with scripted replies."""

from __future__ import annotations

import httpx
import pytest
from scripted import SAID

ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_reply_is_what_the_client_expects(serving, client, script):
    server = serving()
    found = client(server).chat.completions.create(**ASKED)
    assert found.choices[0].message.content == SAID
    assert found.choices[0].finish_reason == "stop"
    asked = script.batches[0].asked[0]
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.plan) == (1.0, 1.0, None)
    tokens = len(server.app.desk.served.model.encoder.plain_ids(SAID))
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (len(asked.prompt), tokens)
    persona = found.model_extra["persona"]
    assert persona["plan"]["name"] == "default"
    (choice,) = persona["choices"]
    assert choice["projection"]["before"]["mean"] == pytest.approx((tokens - 1) / 2)
    assert choice["projection"]["after"]["mean"] == pytest.approx((tokens + 1) / 2)
    assert choice["tokens"]["run"] == len(asked.prompt) + tokens


def test_a_stream_says_the_same_and_ends_with_the_whole(serving, client):
    asking = {**ASKED, "stream": True, "stream_options": {"include_usage": True}, "n": 2}
    extra = {"persona": {"projections": True}}
    chunks = list(client(serving()).chat.completions.create(**asking, extra_body=extra))
    said = {0: "", 1: ""}
    read: dict[int, list[float]] = {0: [], 1: []}
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        said[choice.index] += choice.delta.content or ""
        for told in (chunk.model_extra or {}).get("persona", {}).get("choices", []):
            read[told["index"]] += (
                [token["before"] for token in told.get("tokens", [])]
                if isinstance(told.get("tokens"), list)
                else []
            )
    assert said == {0: SAID, 1: SAID}
    last = chunks[-1]
    assert not last.choices
    assert last.usage.completion_tokens == 2 * len(read[0])
    whole = last.model_extra["persona"]["choices"]
    assert [choice["projections"]["before"] for choice in whole] == [read[0], read[1]]
    assert {choice.finish_reason for chunk in chunks for choice in chunk.choices} == {None, "stop"}


def test_scores_of_tokens_have_the_words(serving, client):
    found = client(serving()).chat.completions.create(**ASKED, logprobs=True, top_logprobs=2)
    scores = found.choices[0].logprobs.content
    assert "".join(score.token for score in scores) == SAID
    assert [len(score.top_logprobs) for score in scores] == [2] * len(scores)
    assert bytes(byte for score in scores for byte in score.bytes).decode() == SAID


def test_plain_prompts_one_and_several(serving, client, script):
    asking = client(serving()).completions
    found = asking.create(
        model="tiny", prompt=["One", "Two"], n=2, max_tokens=4, logprobs=1, echo=False
    )
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert {choice.finish_reason for choice in found.choices} == {"length"}
    assert found.choices[0].logprobs.text_offset[0] == 0
    prompts = [request.prompt.text for request in script.batches[0].asked]
    assert prompts == ["One", "One", "Two", "Two"]
    echoed = asking.create(model="tiny", prompt="Once. ", echo=True)
    assert echoed.choices[0].text == "Once. " + SAID
    ids = asking.create(model="tiny", prompt=[72, 105], max_tokens=2)
    assert script.batches[0].asked[-1].prompt.ids.tolist() == [72, 105]
    assert ids.usage.prompt_tokens == 2
    streamed = asking.create(model="tiny", prompt="Once", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == SAID


def test_settings_reach_the_batch(serving, client, script):
    asking = client(serving()).chat.completions
    settings = {"temperature": 0.3, "top_p": 0.5, "seed": 7, "stop": ["x", "yy"], "n": 2}
    asking.create(
        **ASKED, **settings, frequency_penalty=0.5, presence_penalty=-0.5, max_completion_tokens=9
    )
    first, second = script.batches[0].asked
    assert (first.sampling.temperature, first.sampling.top_p) == (0.3, 0.5)
    assert (first.sampling.seed, first.sampling.max_new_tokens) == (7, 9)
    assert first.stop == ("x", "yy")
    assert (first.frequency_penalty, first.presence_penalty) == (0.5, -0.5)
    assert second.sampling.seed != 7
    assert first.prompt is not second.prompt or len(first.prompt) == len(second.prompt)


def test_the_developer_is_the_system_and_parts_are_joined(serving, client, script):
    server = serving()
    messages = [
        {"role": "developer", "content": "Be a ghost."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": "are you?"}],
        },
    ]
    client(server).chat.completions.create(model="tiny", messages=messages)
    encoder = server.app.desk.served.model.encoder
    meant = encoder.prompt(encoder.messages("Who\nare you?", system="Be a ghost."))
    assert script.batches[0].asked[0].prompt.ids.tolist() == meant.ids.tolist()


def test_what_a_prompt_is_without_a_system_message(serving, client, script):
    server = serving()
    client(server).chat.completions.create(**ASKED)
    encoder = server.app.desk.served.model.encoder
    meant = encoder.prompt(encoder.messages("Hi"))
    assert script.batches[0].asked[0].prompt.ids.tolist() == meant.ids.tolist()


def test_models_and_health_tell_what_there_is(serving, client):
    server = serving(cap=None)
    (card,) = client(server).models.list().data
    assert card.id == "tiny"
    assert [plan["name"] for plan in card.model_extra["persona"]["plans"]] == ["none", "default"]
    assert client(server).models.retrieve("tiny").id == "tiny"
    health = httpx.get(server.url.removesuffix("/v1") + "/health")
    assert health.json() == {"status": "ok", "open": 0}


def test_token_ids_are_told_where_they_are_asked_for(serving, client):
    server = serving()
    found = client(server).chat.completions.create(**ASKED, extra_body={"return_token_ids": True})
    encoder = server.app.desk.served.model.encoder
    assert found.choices[0].model_extra["token_ids"] == encoder.plain_ids(SAID)
