"""What a server is asked for a shard, and what its answers are as replies."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_tokenizer
from tokenizers import processors

from persona_lens import Sampling
from persona_lens.endpoints import Completion, EndpointSettings, Failure
from persona_lens.errors import EndpointError, TranscriptError
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.serving import ServedSource, as_reply
from persona_lens.transcripts import TranscriptEncoder

TEMPLATES = Path(__file__).parents[1] / "templates"
SETTINGS = EndpointSettings(model="m", base_url="http://127.0.0.1:8000/v1")


def encoder(template: str = "chatml") -> TranscriptEncoder:
    source = (TEMPLATES / f"{template}.jinja").read_text("utf-8")
    return TranscriptEncoder(tiny_tokenizer(), chat_template=source)


def shard(system: str = "You are a ghost.", name: str = "ghost", samples: int = 1) -> Shard:
    requests = tuple(
        Request(question_id=id_, question=text, sample=sample)
        for id_, text in (("q01", "Who are you?"), ("q02", "What do you want?"))
        for sample in range(samples)
    )
    return Shard(kind="role", name=name, prompt_index=0, system=system, requests=requests)


def messages(source: ServedSource, system: str) -> list[dict[str, str]]:
    (call,) = source.calls(shard(system), [0], Sampling())
    assert call.prompt is None
    return list(call.messages)


def test_the_system_prompt_goes_where_the_template_has_a_place_for_it() -> None:
    question = {"role": "user", "content": "Who are you?"}
    apart = [{"role": "system", "content": "You are a ghost."}, question]
    folded = [{"role": "user", "content": "You are a ghost.\n\nWho are you?"}]
    assert messages(ServedSource(SETTINGS), "You are a ghost.") == apart
    assert messages(ServedSource(SETTINGS, encoder=encoder()), "You are a ghost.") == apart
    assert messages(ServedSource(SETTINGS, fold_system=True), "You are a ghost.") == folded
    gemma = encoder("gemma2")
    assert messages(ServedSource(SETTINGS, encoder=gemma), "You are a ghost.") == folded
    assert gemma.fold_system(apart) == folded
    told = ServedSource(SETTINGS, encoder=gemma, fold_system=False)
    assert messages(told, "You are a ghost.") == apart


def test_no_system_prompt_is_really_none() -> None:
    question = {"role": "user", "content": "Who are you?"}
    for source in (
        ServedSource(SETTINGS),
        ServedSource(SETTINGS, fold_system=True),
        ServedSource(SETTINGS, encoder=encoder()),
        ServedSource(SETTINGS, encoder=encoder("gemma2")),
    ):
        assert messages(source, "") == [question]
    writes_its_own = ServedSource(SETTINGS, encoder=encoder("chatml_default"))
    assert messages(writes_its_own, "") == [{"role": "system", "content": ""}, question]


def test_our_template_is_sent_as_text() -> None:
    ours = encoder()
    (call,) = ServedSource(SETTINGS, template="ours", encoder=ours).calls(shard(), [1], Sampling())
    assert not call.messages
    asked = ours.messages("What do you want?", system="You are a ghost.")
    assert call.prompt == ours.prompt(asked).text
    assert call.prompt.endswith("<|im_start|>assistant\n")


def tokenizer_that_adds(pattern: str):
    tokenizer = tiny_tokenizer()
    ids = {
        token: tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>")
    }
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=pattern, pair=f"{pattern} $B", special_tokens=list(ids.items())
    )
    return tokenizer


def test_a_bos_that_the_server_adds_is_not_sent() -> None:
    tokenizer = tokenizer_that_adds("<|im_start|> $A")
    ours = TranscriptEncoder(tokenizer)
    (call,) = ServedSource(SETTINGS, template="ours", encoder=ours).calls(shard(), [0], Sampling())
    meant = ours.prompt(ours.messages("Who are you?", system="You are a ghost."))
    assert meant.text == f"<|im_start|>{call.prompt}"
    assert tokenizer(call.prompt)["input_ids"] == meant.ids.tolist()


def test_a_prompt_that_no_text_stands_for_is_refused() -> None:
    ours = TranscriptEncoder(tokenizer_that_adds("$A <|im_end|>"))
    source = ServedSource(SETTINGS, template="ours", encoder=ours)
    with pytest.raises(TranscriptError, match=r"(?s)other tokens.*role-ghost-p0.*server"):
        list(source.calls(shard(), [0], Sampling()))


def test_every_request_has_a_seed_of_its_own_and_keeps_it() -> None:
    source = ServedSource(SETTINGS)

    def seeds(shard: Shard, seed: int = 0) -> list[int | None]:
        indices = range(len(shard.requests))
        return [call.seed for call in source.calls(shard, indices, Sampling(seed=seed))]

    several = shard(samples=3)
    everything = seeds(several) + seeds(several, seed=1) + seeds(shard(name="wraith", samples=3))
    assert len(set(everything)) == 18
    assert all(seed is not None and 0 <= seed < 2**31 for seed in everything)
    (again,) = source.calls(several, [4], Sampling())
    assert again.seed == seeds(several)[4]


def test_sampling_is_asked_for_as_it_is_recorded() -> None:
    source = ServedSource(SETTINGS)
    (drawn,) = source.calls(shard(), [0], Sampling(temperature=0.6, top_p=0.8, max_new_tokens=9))
    assert (drawn.temperature, drawn.top_p, drawn.max_tokens) == (0.6, 0.8, 9)
    (greedy,) = source.calls(shard(), [0], Sampling(temperature=0))
    assert (greedy.temperature, greedy.top_p, greedy.seed) == (0, None, None)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Completion("Boo", "stop"), ("Boo", "stop", "")),
        (Completion("Boo", "eos_token"), ("Boo", "stop", "")),
        (Completion("Bo", "length"), ("Bo", "length", "")),
        (Completion("", "stop"), ("", "stop", "")),
        (Completion("", "refusal", "I cannot."), ("I cannot.", "refused", "")),
        (Completion("", "content_filter"), ("", "filtered", "")),
        (Completion("Bo", "abort"), ("", "failed", "the server ended the reply with 'abort'")),
        (Failure("bad_request", "status 400: no", 1), ("", "failed", "status 400: no")),
    ],
)
def test_answers_become_replies(
    outcome: Completion | Failure, expected: tuple[str, str, str]
) -> None:
    reply, reason = as_reply(outcome)
    assert (reply.text, reply.finish, reason) == expected
    assert len(reply.ids) == 0
    assert reply.has_ids == (not reply.text)


def test_conditions_are_what_decides_replies_and_not_where_they_come_from() -> None:
    def at(host: str, **options) -> dict:
        return ServedSource(
            EndpointSettings(model="m", base_url=f"http://{host}/v1"), **options
        ).conditions()

    plain = at("here")
    assert plain == at("there:8000")
    assert plain == at("here", encoder=encoder())
    others = [
        at("here", fold_system=True),
        at("here", encoder=encoder("chatml_default")),
        at("here", template="ours", encoder=encoder()),
        at("here", template="ours", encoder=encoder("chatml_default")),
    ]
    assert all(other not in [plain, *others[:place]] for place, other in enumerate(others))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("qwen3", "qwen3"),
        ("google/gemma-2-27b-it", "google/gemma-2-27b-it"),
        ("/models/gemma-2-27b-it", "gemma-2-27b-it"),
        ("./models/gemma/", "gemma"),
    ],
)
def test_a_served_model_is_called_as_the_same_model_loaded(model: str, name: str) -> None:
    settings = EndpointSettings(model=model, base_url="http://127.0.0.1:8000/v1")
    assert ServedSource(settings).name == name
    assert ServedSource(settings, model_name="Gemma").name == "Gemma"


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(EndpointError, match="needs an encoder"):
        ServedSource(SETTINGS, template="ours")
    with pytest.raises(EndpointError, match="fold_system is for"):
        ServedSource(SETTINGS, template="ours", encoder=encoder(), fold_system=True)
