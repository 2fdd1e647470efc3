"""What is no transcript, no message or no plan is refused with the call that makes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.errors import InterventionError, ModelError
from persona_lens.interventions import Ablate, Direction, Plan
from tests.tiny import tiny_module, tiny_tokenizer

USER = {"role": "user", "content": "Who are you?"}
SAID = [USER, {"role": "assistant", "content": "A ghost."}]


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["hello"], "given text"),
        ("hello", "given text"),
        (SAID, r"given messages.*\(messages\)\]"),
        ([SAID, SAID], "given lists of messages.*for each in conversations"),
        (USER, r"given messages.*\(messages\)\]"),
        ([1, 2, 3], "given token ids.*which token is whose"),
        (np.arange(4), "given token ids.*which token is whose"),
        ([np.arange(4)], "given token ids.*which token is whose"),
        ([None], "given NoneType"),
        (7, "given token ids"),
    ],
)
def test_what_is_no_transcript_is_named_and_answered_with_the_right_call(
    model: PersonaModel, given: Any, message: str
) -> None:
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: model.generate(given), "prompt"),
        (lambda: model.log_probs(given, [[1]]), "prompt"),
        (lambda: model.pooled(given), "encode"),
        (lambda: model.projections(given, np.eye(1, 16)[None], layers=[0]), "encode"),
        (lambda: model.kl(ghost(), given), "encode"),
    ]
    for call, wanted in calls:
        with pytest.raises(ModelError, match=f"(?s)no transcripts.*{message}") as caught:
            call()
        assert f"model.encoder.{wanted}(" in str(caught.value)


def ghost() -> Plan:
    return Plan.of(Ablate(Direction("ghost", (1,), np.ones((1, 16)))))


def test_a_single_transcript_goes_into_a_list(model: PersonaModel) -> None:
    said = model.encoder.encode(SAID)
    with pytest.raises(ModelError, match=r"(?s)a single transcript.*\[transcript\]"):
        model.pooled(said)  # pyright: ignore[reportArgumentType]
    assert model.pooled((said,)).shape == (1, 3, 16)
    assert model.pooled([]).shape == (0, 3, 16)


def test_chat_takes_one_text(model: PersonaModel) -> None:
    for messages in (SAID, USER):
        with pytest.raises(ModelError, match=r"(?s)message is no text.*generate\(\[model\.encoder"):
            model.chat(messages)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ModelError, match=r'(?s)system prompt is no text.*give ""'):
        model.chat("Hi", system=None)  # pyright: ignore[reportArgumentType]


def test_what_is_no_plan_is_refused_with_what_makes_one(model: PersonaModel) -> None:
    rng = np.random.default_rng(0)
    roles = {name: rng.normal(size=(3, 16)) for name in "abcd"}
    space = PersonaSpace.from_vectors(roles, rng.normal(size=(3, 16)), n_resamples=5).fit()
    plan, direction = ghost(), space.direction()
    cases: list[tuple[Any, str]] = [
        (space, r"a PersonaSpace.*space\.add\(\.\.\.\), space\.floor"),
        (direction, r"a Direction.*Plan\.of\(Ablate\(direction\)\)"),
        (Ablate(direction), r"an Ablate.*Plan\.of\(Ablate\(\.\.\.\)\)"),
        ([plan, plan], r"a list.*one \+ other"),
        (space.ablate, "call it"),
        (None, "a NoneType"),
        ("pirate", "a str"),
    ]
    for given, message in cases:
        for call in (
            lambda given: model.intervene(given).__enter__(),
            lambda given: model.kl(given, [model.encoder.encode(SAID)]),
            lambda given: plan + given,
            lambda given: space.gate(given, below=25),
        ):
            with pytest.raises(InterventionError, match=f"(?s)this is no plan.*{message}"):
                call(given)
    with pytest.raises(InterventionError, match="this is no plan"):
        direction + plan  # pyright: ignore[reportOperatorIssue]


def test_plans_can_be_summed() -> None:
    plans = [ghost(), 0.5 * ghost(), ghost().where("generated")]
    assert repr(sum(plans)) == repr(plans[0] + plans[1] + plans[2])
