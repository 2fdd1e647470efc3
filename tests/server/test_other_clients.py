"""Other people's clients, and this package's own, against the server."""

from __future__ import annotations

import json
import urllib.request

import pytest
from scripted import SAID

from persona_lens.endpoints import Call, Endpoint, EndpointSettings
from persona_lens.endpoints.wire import read_completion
from persona_lens.errors import EndpointError


def settings(server, **more) -> EndpointSettings:
    return EndpointSettings(model="tiny", base_url=server.url, max_attempts=1, **more)


def test_this_packages_endpoint_gets_what_it_asks_for(serving):
    server = serving()
    asked = [
        Call("chat", [{"role": "user", "content": "Hi"}], max_tokens=40, logprobs=2),
        Call("text", prompt="Once upon", max_tokens=5),
    ]
    endpoint = Endpoint(settings(server, extra_body={"return_token_ids": True}))
    answers = {call.key: answer for call, answer in endpoint.map(asked)}
    encoder = server.app.desk.served.model.encoder
    chat, text = (answers[name] for name in ("chat", "text"))
    assert (chat.text, chat.finish) == (SAID, "stop")
    assert list(chat.token_ids) == encoder.plain_ids(SAID)
    assert list(chat.prompt_token_ids) == encoder.prompt(encoder.messages("Hi")).ids.tolist()
    assert len(chat.top_logprobs) == len(chat.token_ids)
    assert (text.finish, len(text.token_ids)) == ("length", 5)


def test_this_packages_endpoint_knows_what_is_wrong(serving, monkeypatch):
    monkeypatch.setenv("NO_KEY", "another-key-of-some-length")
    monkeypatch.setenv("THE_KEY", "a-key-of-some-length")
    server = serving(key="a-key-of-some-length")
    for variable, name, said in (
        ("NO_KEY", "tiny", "key"),
        ("THE_KEY", "other", "tiny"),
    ):
        endpoint = Endpoint(
            EndpointSettings(model=name, base_url=server.url, api_key_env=variable, max_attempts=1)
        )
        with pytest.raises(EndpointError, match=said):
            endpoint.check()


def test_a_stream_is_put_together_by_this_packages_reader(serving):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    request = urllib.request.Request(
        serving().url + "/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        completion = read_completion(response.read().decode())
    assert (completion.text, completion.finish) == (SAID, "stop")


def test_inspect_evaluates_through_its_own_openai_provider(serving, monkeypatch, tmp_path):
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.scorer import includes
    from inspect_ai.solver import generate, system_message

    server = serving()
    model = get_model(
        "openai-api/persona/tiny",
        base_url=server.url,
        api_key="-",
        config=GenerateConfig(max_tokens=40, max_retries=0, temperature=0),
    )
    samples = [Sample(f"Question {number}", target="stormy") for number in range(4)]
    task = Task(samples, solver=[system_message("Be a ghost."), generate()], scorer=includes())
    (log,) = eval(task, model=model, log_dir=str(tmp_path), display="none")
    assert log.status == "success", log.error
    assert log.results.scores[0].metrics["accuracy"].value == 1.0


def test_lm_eval_asks_for_chats_through_its_own_client(serving):
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalChatCompletion

    server = serving()
    client = LocalChatCompletion(
        model="tiny", base_url=server.url + "/chat/completions", num_concurrent=2, max_retries=1
    )
    asked = [
        Instance(
            "generate_until",
            {},
            (
                [{"role": "user", "content": f"Question {number}"}],
                {"max_gen_toks": 40, "until": ["zzz"]},
            ),
            number,
        )
        for number in range(3)
    ]
    wrapped = [
        Instance(
            each.request_type,
            {},
            (client.apply_chat_template(each.args[0]), each.args[1]),
            each.idx,
        )
        for each in asked
    ]
    assert client.generate_until(wrapped, disable_tqdm=True) == [SAID] * 3
