"""Messages and settings from Inspect: taken, refused or warned of, never dropped."""

from __future__ import annotations

import warnings

import pytest
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ResponseSchema,
)
from inspect_ai.tool import ToolCall, ToolInfo
from inspect_ai.util import JSONSchema

from persona_lens import Sampling
from persona_lens.errors import EvaluationError, PersonaLensWarning
from persona_lens.harnesses import inspect_messages
from persona_lens.harnesses.inspect_messages import spoken, wanted

PIXEL = "data:image/png;base64,iVBORw0KGgo="
CALL = ToolCall(id="1", function="add", arguments={})
HI = ChatMessageUser(content="Hi")


def test_parts_of_text_and_thoughts_are_kept():
    told = spoken(
        [
            ChatMessageSystem(content="You are a ghost."),
            ChatMessageUser(content=[ContentText(text="Who"), ContentText(text="are you?")]),
            ChatMessageAssistant(
                content=[ContentReasoning(reasoning="Who asks?"), ContentText(text="Boo.")]
            ),
            HI,
        ]
    )
    assert told == [
        {"role": "system", "content": "You are a ghost."},
        {"role": "user", "content": "Who\nare you?"},
        {"role": "assistant", "content": "Boo.", "reasoning_content": "Who asks?"},
        {"role": "user", "content": "Hi"},
    ]


@pytest.mark.parametrize(
    ("messages", "tools", "told"),
    [
        ([ChatMessageUser(content=[ContentImage(image=PIXEL)])], [], "part that is no text"),
        ([HI], [ToolInfo(name="add", description="Adds.")], "tools are not called.*given add"),
        ([HI, ChatMessageAssistant(content="", tool_calls=[CALL]), HI], [], "message 1 belongs"),
        ([HI, ChatMessageTool(content="3", tool_call_id="1"), HI], [], "message 1 belongs"),
        ([HI, ChatMessageAssistant(content="I am")], [], "nothing to answer.*of the assistant"),
        ([], [], "nothing to answer.*no messages"),
    ],
    ids=["image", "tools", "tool-call", "tool-result", "prefill", "empty"],
)
def test_what_is_no_text_is_refused_with_what_to_do(messages, tools, told):
    with pytest.raises(EvaluationError, match=f"(?s){told}"):
        spoken(messages, tools)


def test_settings_that_are_kept():
    config = GenerateConfig(
        max_tokens=9, temperature=0.3, seed=4, stop_seqs=["\n"], num_choices=2, logprobs=True
    )
    found = wanted(config)
    assert found.sampling == Sampling(temperature=0.3, top_p=1.0, max_new_tokens=9, seed=4)
    assert (found.choices, found.stops, found.log_probs, found.seeded) == (2, ("\n",), True, True)


def test_settings_left_out_are_those_of_the_package_and_one_of_two_leaves_the_other_idle():
    plain = Sampling()
    found = wanted(GenerateConfig()).sampling
    assert (found.temperature, found.top_p) == (plain.temperature, plain.top_p)
    assert wanted(GenerateConfig(top_p=0.5)).sampling.temperature == 1.0
    assert wanted(GenerateConfig(temperature=0)).sampling.top_p == 1.0
    assert not wanted(GenerateConfig()).seeded


def test_epochs_of_one_seed_differ_and_the_first_has_it():
    seeds = [wanted(GenerateConfig(seed=7), epoch).sampling.seed for epoch in (1, 2, 3)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3
    assert seeds == [wanted(GenerateConfig(seed=7), epoch).sampling.seed for epoch in (1, 2, 3)]


REFUSED = {
    "top_k": 5,
    "top_logprobs": 3,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logit_bias": {3: 1.0},
    "best_of": 2,
    "prompt_logprobs": 1,
    "response_schema": ResponseSchema(name="a", json_schema=JSONSchema(type="object")),
    "extra_body": {"guided": 1},
    "modalities": ["image"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_would_change_replies_are_refused(name):
    with pytest.raises(EvaluationError, match=f"the setting {name} cannot be kept"):
        wanted(GenerateConfig(**{name: REFUSED[name]}))


def test_settings_that_do_nothing_are_no_reason_to_refuse():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wanted(GenerateConfig(frequency_penalty=0, top_logprobs=0, best_of=1, logit_bias={}))


def test_advice_is_warned_of():
    with pytest.warns(PersonaLensWarning, match="reasoning_effort"):
        wanted(GenerateConfig(reasoning_effort="low"))


def test_every_setting_of_inspect_is_kept_left_to_it_warned_of_or_refused():
    known = (
        inspect_messages._KEPT
        | inspect_messages._INSPECTS_OWN
        | inspect_messages._ADVICE
        | REFUSED.keys()
    )
    assert known == set(GenerateConfig.model_fields)


@pytest.mark.parametrize(
    "settings", [{"temperature": -1.0}, {"top_p": 0.0}, {"num_choices": 0}, {"max_tokens": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(EvaluationError, match="nothing can be sampled"):
        wanted(GenerateConfig(**settings))
