"""The real thing: the embedded model behind the official client, alone and under load, capped and not."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import openai
import pytest
from waiting import happens

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.server import Allowed, Limits, Served, Serving

NAME = "smollm2-135m-instruct"
QUESTIONS = [
    "Who are you?",
    "Is water wet?",
    "Speak as a ghost.",
    "What is the capital of France?",
    "Sing me a song of the sea, old pirate, and tell me where the treasure lies.",
    "Hi",
]
PLANS = ["default", "none"]
TOKENS = 10


@pytest.fixture(scope="module")
def space() -> PersonaSpace:
    return PersonaSpace.load(NAME)


@pytest.fixture(scope="module")
def server(smol: PersonaModel, space: PersonaSpace) -> Iterator[Serving]:
    served = Served.of(
        smol,
        space,
        cap=90,
        limits=Limits(rows=8),
        allowed=Allowed(percentiles=(50, 99), layers=tuple(range(18, 27))),
    )
    with Serving(served, port=0) as running:
        yield running


@pytest.fixture(scope="module")
def alone(smol: PersonaModel, space: PersonaSpace) -> dict[tuple[str, str], list[int]]:
    """What the model says to each question, under each plan; in float32 at temperature 0, in any company."""
    said = {}
    sampling = Sampling(temperature=0, max_new_tokens=TOKENS)
    prompts = [smol.encoder.prompt(smol.encoder.messages(question)) for question in QUESTIONS]
    for plan in PLANS:
        with nullcontext() if plan == "none" else smol.intervene(space.floor(percentile=90)):
            replies = smol.generate(prompts, sampling)
        for question, reply in zip(QUESTIONS, replies, strict=True):
            said[question, plan] = reply.ids.tolist()
    return said


def asked(question: str, plan: str, **more) -> dict:
    return {
        "model": NAME,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": TOKENS,
        "extra_body": {"persona": {"plan": plan, **more}, "return_token_ids": True},
    }


@pytest.mark.embedded
def test_many_at_once_say_what_each_says_alone(server, alone):
    assert len({tuple(ids) for ids in alone.values()}) > len(QUESTIONS)  # the cap does something

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="-", max_retries=0) as client:

            async def whole(question: str, plan: str) -> list[int]:
                found = await client.chat.completions.create(**asked(question, plan))
                return found.choices[0].model_extra["token_ids"]

            async def streamed(question: str, plan: str) -> list[int]:
                stream = await client.chat.completions.create(**asked(question, plan), stream=True)
                chunks = [chunk async for chunk in stream]
                text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
                ids = chunks[-1].choices[0].model_extra["token_ids"]
                assert text == server.app.desk.served.model.encoder.text_of(ids)
                return ids

            keys = list(alone)
            random.Random(0).shuffle(keys)
            said = await asyncio.gather(
                *((streamed if place % 2 else whole)(*key) for place, key in enumerate(keys))
            )
            assert dict(zip(keys, said, strict=True)) == alone

    asyncio.run(run())
    assert not server.app.desk.served.model.has_hooks


@pytest.mark.embedded
def test_what_is_said_of_a_reply_is_what_the_model_shows(server, smol, space):
    layer = server.app.desk.served.reader.layer
    question = QUESTIONS[2]
    with openai.OpenAI(base_url=server.url, api_key="-") as client:
        found = client.chat.completions.create(
            **asked(question, "default", clean=True, projections=True)
        )
    persona = found.model_extra["persona"]
    (about,) = persona["choices"]
    prompt = smol.encoder.prompt(smol.encoder.messages(question))
    ids = found.choices[0].model_extra["token_ids"]
    said = smol.encoder.with_reply(prompt, ids)
    clean = space.project(smol.pooled([said], layers=[layer])[:, 0], layer)[0]
    z = space.project(smol.pooled([said], layers=[layer])[:, 0], layer, units="default")[0]
    place = about["projection"]["clean"]
    assert place["mean"] == pytest.approx(clean, rel=1e-4)
    assert place["z"] == pytest.approx(z, abs=1e-3)
    assert place["low"] < place["mean"] < place["high"]
    assert place["tokens"] == len(ids)
    with smol.intervene(space.floor(percentile=90)) as receipt:
        capped = smol.pooled([said], layers=[layer])[:, 0]
    after = about["projection"]["after"]["mean"]
    assert after == pytest.approx(space.project(capped, layer)[0], rel=1e-3)
    assert np.mean(about["projections"]["after"]) == pytest.approx(after, rel=1e-4)
    frame = receipt.frame()
    # The last token is read, and so run, as the text is.
    assert about["tokens"]["seen"] == frame["seen"].max()
    assert about["tokens"]["moved"] == frame["changed"].max()
    assert persona["plan"]["layers"] == list(space.floor(percentile=90).layers)
    assert persona["reading"]["layer"] == layer


@pytest.mark.embedded
def test_a_request_chooses_its_cap(server, smol, space):
    with openai.OpenAI(base_url=server.url, api_key="-") as client:
        found = client.chat.completions.create(
            **asked(QUESTIONS[2], "default", percentile=99, layers=[20, 21])
        )
        with pytest.raises(openai.BadRequestError, match="50 to 99"):
            client.chat.completions.create(**asked("Hi", "default", percentile=10))
    prompt = smol.encoder.prompt(smol.encoder.messages(QUESTIONS[2]))
    with smol.intervene(space.floor(percentile=99, layers=[20, 21])):
        alone = smol.generate([prompt], Sampling(temperature=0, max_new_tokens=TOKENS))[0]
    assert found.choices[0].model_extra["token_ids"] == alone.ids.tolist()
    assert found.model_extra["persona"]["plan"]["name"] == "cap 99 at 20-21"


@pytest.mark.embedded
def test_seeds_repeat_and_choices_differ(server):
    settings = {"temperature": 1.0, "n": 3, "seed": 5, "max_tokens": 8}
    with openai.OpenAI(base_url=server.url, api_key="-") as client:
        once, again = (
            client.chat.completions.create(**{**asked("Tell me a tale.", "none"), **settings})
            for _ in range(2)
        )
        alone = client.chat.completions.create(
            **{**asked("Tell me a tale.", "none"), **settings, "n": 1}
        )
    texts = [choice.message.content for choice in once.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) > 1
    assert alone.choices[0].message.content == texts[0]


@pytest.mark.embedded
def test_scores_and_stops(server, smol):
    question = QUESTIONS[3]
    with openai.OpenAI(base_url=server.url, api_key="-") as client:
        found = client.chat.completions.create(
            **asked(question, "none"), logprobs=True, top_logprobs=3
        )
        stopped = client.chat.completions.create(**asked(question, "none"), stop=[" of"])
    prompt = smol.encoder.prompt(smol.encoder.messages(question))
    ids = found.choices[0].model_extra["token_ids"]
    scores = found.choices[0].logprobs.content
    (meant,) = smol.log_probs([prompt], [ids])
    assert [score.logprob for score in scores] == pytest.approx(meant.tolist(), abs=1e-3)
    assert all(score.top_logprobs[0].token == score.token for score in scores)  # greedy
    whole = found.choices[0].message.content
    assert " of" in whole
    assert stopped.choices[0].message.content == whole[: whole.index(" of")]
    assert stopped.choices[0].finish_reason == "stop"


@pytest.mark.embedded
def test_clients_that_go_away_at_random_leave_nothing(server):
    worker = server.app.desk.worker

    def go(number: int) -> None:
        rng = random.Random(number)
        with openai.OpenAI(base_url=server.url, api_key="-", max_retries=0, timeout=30) as client:
            asking = {**asked("Count to a hundred.", PLANS[number % 2]), "max_tokens": 200}
            stream = client.chat.completions.create(**asking, stream=True)
            for _, _ in zip(range(rng.randrange(1, 4)), stream, strict=False):
                pass
            stream.close()

    threads = [threading.Thread(target=go, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert happens(lambda: worker.open == 0)
    assert happens(lambda: not worker.batch.busy and not worker._rows and not worker._tickets)
    assert not server.app.desk.served.model.has_hooks
