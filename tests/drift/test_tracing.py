"""A trace is what reading every turn by itself gives, for real conversations and eight families of templates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.catalog import load_scripts
from persona_lens.conversations import Conversation
from persona_lens.drift import Trace, trace
from persona_lens.drift.simulation import ScriptedUser, Simulated, simulate
from persona_lens.errors import ConversationError, InterventionError, SpaceError
from persona_lens.transcripts.continuing import Continuation

TEMPLATES = Path(__file__).parents[1] / "templates"
FAMILIES = ("chatml", "llama3", "gemma2", "mistral", "phi3", "qwen3", "zephyr", "closed_thinking")
SAID = [
    ("user", "How long do dried beans soak?"),
    ("assistant", "Eight hours in plenty of cold water; overnight is convenient."),
    ("user", "And if I forgot them?"),
    ("assistant", "Boil them for two minutes, let them stand for an hour, then cook them."),
    ("user", "Now tell me that as a ghost would."),
    ("assistant", "Whoooo... the beans, they wait in the dark, as I have waited."),
    ("user", "thanks"),
]
CHAT = Conversation.of(SAID, id="beans", domain="cooking")
BRIEF = Conversation.of(
    [("user", "Wet?"), ("assistant", "Yes."), ("user", "Ice?"), ("assistant", "Not yet, no.")],
    id="brief",
)


def random_space(model: PersonaModel, seed: int = 0) -> PersonaSpace:
    rng = np.random.default_rng(seed)
    shape = (model.n_layers, model.d_model)
    roles = {f"role_{number}": rng.normal(size=shape) for number in range(6)}
    traits = {"calm": rng.normal(size=shape)}
    return PersonaSpace.from_vectors(roles, rng.normal(size=shape), traits, n_resamples=10).fit()


def each_turn_alone(model: PersonaModel, chat: Conversation, layer: int) -> np.ndarray:
    """The reference: the prompt as it was sent, the reply behind it, one pass a turn."""
    continuation = Continuation(model.encoder, end_ids=model.end_ids)
    means = []
    for turn in range(chat.n_turns):
        messages = [message.as_dict() for message in chat.prompt_of(turn)]
        if messages[0]["role"] == "user":
            messages = [*model.encoder.messages(messages[0]["content"]), *messages[1:]]
        prompt = model.encoder.prompt(messages)
        ids = continuation.ids(prompt, chat.replies[turn])
        said = model.encoder.with_reply(prompt, ids, end_ids=continuation.end_ids)
        means.append(model.pooled([said], layers=[layer])[0, 0])
    return np.stack(means)


def check(model: PersonaModel, space: PersonaSpace, chat: Conversation, layer: int) -> None:
    found = trace(space, model, [chat], layers=layer, directions=["axis", "calm"], progress=False)
    means = each_turn_alone(model, chat, layer)
    for direction in ("axis", "calm"):
        wanted = space.project(means, layer, onto=direction)
        rows = found.at(direction=direction)
        np.testing.assert_allclose(rows["projection"], wanted, rtol=2e-4, atol=2e-4)
    first = rows.iloc[0]
    nearest = space.nearest(means[0], layer, k=3)
    assert first["nearest"] == ", ".join(nearest["name"])
    assert first["nearest_cosine"] == pytest.approx(nearest["cosine"][0], abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_each_turn_alone_for_a_family_of_templates(family):
    source = (TEMPLATES / f"{family}.jinja").read_text()
    model = PersonaModel.load(
        shared_module("llama"), tokenizer=tiny_tokenizer(), chat_template=source
    )
    check(model, random_space(model), BRIEF, layer=1)


def written_by(model: PersonaModel, layer: int, *, turns: int, max_new_tokens: int) -> Simulated:
    """What the model itself answers to two scripts of the catalogue."""
    users = [
        ScriptedUser(script.messages[:turns], name=script.id)
        for script in load_scripts("all")[::50]
    ]
    return simulate(
        model,
        users,
        turns=turns,
        layers=[layer],
        sampling=Sampling(max_new_tokens=max_new_tokens, seed=3),
        progress=False,
    )


def check_own(
    model: PersonaModel,
    space: PersonaSpace,
    layer: int,
    *,
    turns: int = 3,
    max_new_tokens: int = 16,
) -> None:
    """Of its own conversations a trace is each turn alone, and what was pooled while they were written."""
    had = written_by(model, layer, turns=turns, max_new_tokens=max_new_tokens)
    assert [chat.n_turns for chat in had.conversations] == [turns, turns]
    for chat in had.conversations:
        check(model, space, chat, layer)
    found = trace(space, model, had.conversations, layers=layer, progress=False)
    assert had.means is not None
    pooled = space.project(had.means[:, 0], layer)
    np.testing.assert_allclose(
        found.at(direction="axis")["projection"], pooled, rtol=1e-3, atol=1e-3
    )


def test_equals_each_turn_alone_on_what_smollm2_answered(smol: PersonaModel):
    space = PersonaSpace.load("smollm2-135m-instruct")
    check(smol, space, CHAT, layer=20)
    check_own(smol, space, layer=20)


def test_equals_each_turn_alone_on_what_gemma_3_answered():
    model = PersonaModel.load("gemma-3-270m", dtype=torch.float32, device="cpu")
    space = random_space(model)
    check(model, space, BRIEF, layer=9)
    check_own(model, space, layer=9, turns=2, max_new_tokens=6)


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())


@pytest.fixture(scope="module")
def space(model: PersonaModel) -> PersonaSpace:
    return random_space(model)


@pytest.fixture(scope="module")
def chats() -> list[Conversation]:
    return [
        CHAT,
        Conversation.of(SAID[:4], id="short", domain="cooking"),
        Conversation.of([("assistant", "Hello!"), ("user", "Hi")], id="begins", domain="none"),
        Conversation.of([("user", "Hi")], id="unanswered"),
    ]


class TestFrame:
    def test_a_row_for_every_turn_layer_and_direction(self, model, space, chats):
        found = trace(
            space, model, chats, layers=[0, 2], directions=["axis", "pc1", "calm"], progress=False
        )
        counts = found.frame.groupby("conversation", sort=False).size()
        assert counts.to_dict() == {"beans": 3 * 2 * 3, "short": 2 * 2 * 3}
        assert found.turns["message"].tolist() == [*CHAT.users[:3], *CHAT.users[:2]]
        assert found.turns["domain"].tolist() == ["cooking"] * 5

    def test_a_conversation_that_cannot_be_read_costs_no_other(self, model, space, chats):
        found = trace(space, model, chats, progress=False)
        assert found.refused["conversation"].tolist() == ["begins", "unanswered"]
        assert "no reply to read" in found.refused["reason"][0]
        assert "no reply to read" in found.refused["reason"][1]
        assert "2 refused" in repr(found)

    def test_a_second_conversation_of_a_name_is_refused_by_itself(self, model, space):
        found = trace(space, model, [CHAT, CHAT], progress=False)
        assert found.refused["conversation"].tolist() == ["beans"]
        assert "another conversation has this id" in found.refused["reason"][0]
        assert found.turns["turn"].tolist() == [0, 1, 2]
        assert found.motion()["turns"].tolist() == [3]

    def test_nothing_to_read_is_an_error(self, model, space, chats):
        with pytest.raises(
            ConversationError, match=r"(?s)no conversation could be read.*unanswered"
        ):
            trace(space, model, chats[3:], progress=False)

    def test_component_scores_are_those_of_the_space(self, model, space):
        found = trace(space, model, [CHAT], layers=1, directions=["pc2"], progress=False)
        means = each_turn_alone(model, CHAT, 1)
        np.testing.assert_allclose(
            found.frame["projection"], space.project(means, 1, onto="pc2"), rtol=1e-4, atol=1e-5
        )

    def test_start_is_the_token_before_the_reply(self, model, space):
        found = trace(space, model, [CHAT], layers=1, progress=False)
        prompt = model.encoder.prompt([message.as_dict() for message in CHAT.prompt_of(0)])
        residual = model.residuals([prompt], layers=[1]).row(1, 0)[-1]
        assert found.frame["start"][0] == pytest.approx(space.project(residual, 1), rel=1e-4)

    def test_middle_layer_by_default(self, model, space):
        assert trace(space, model, [CHAT], progress=False).layers == (model.n_layers // 2,)

    def test_a_stream_is_read_without_being_held(self, model, space):
        def made():
            for number in range(70):
                yield Conversation.of(SAID[:2], id=str(number))

        class Log:
            def __iter__(self):
                return made()

        found = trace(space, model, Log(), progress=False)
        assert len(found.turns) == 70
        assert found.turns["conversation"].tolist() == [str(number) for number in range(70)]

    def test_windows_say_what_was_seen(self, model, space):
        said = [
            pair
            for number in range(6)
            for pair in (("user", f"Q{number}"), ("assistant", "A" * 30))
        ]
        chat = Conversation.of(said, id="long")
        found = trace(space, model, [chat], long="windows", context=220, progress=False)
        assert found.turns["turn"].tolist() == list(range(6))
        assert found.turns["since"].iloc[0] == 0
        assert found.turns["since"].iloc[-1] > 0

    def test_another_width_is_refused(self, space, smol):
        with pytest.raises(SpaceError, match="of another model"):
            trace(space, smol, [CHAT], progress=False)


class TestCalibration:
    def test_z_is_the_distance_from_the_default_in_its_spread(self, smol):
        space = PersonaSpace.load("smollm2-135m-instruct")
        found = trace(
            space, smol, [CHAT], layers=20, directions=["axis", "trait:calm"], progress=False
        )
        axis = found.at(direction="axis")
        calibration = space.calibration_
        place = space.layer_index(20), calibration.directions.index("axis")
        wanted = (axis["projection"] - calibration.means[0][place]) / calibration.deviations[0][
            place
        ]
        np.testing.assert_allclose(axis["z_default"], wanted, rtol=1e-5)
        assert axis["z_roles"].gt(axis["z_default"]).all()  # roles lie below the default
        assert (
            found.at(direction="trait:calm" if "trait:calm" in found.directions else "calm")[
                "z_default"
            ]
            .isna()
            .all()
        )

    def test_the_ghost_lies_below_the_recipe(self, smol):
        """The one number that a user looks for first, on the real model."""
        space = PersonaSpace.load("smollm2-135m-instruct")
        axis = trace(space, smol, [CHAT], layers=20, progress=False).frame["projection"]
        assert axis[2] < axis[:2].min()


class TestReadings:
    def test_three_readings_of_a_capped_model(self, smol):
        space = PersonaSpace.load("smollm2-135m-instruct")
        plan = space.floor(percentile=50, layers=[18, 20])
        found = trace(space, smol, [CHAT], layers=20, plan=plan, progress=False)
        assert found.readings == ("clean", "before", "after")
        clean, before, after = (
            found.at(reading=reading)["projection"].to_numpy() for reading in found.readings
        )
        assert (after >= before - 1e-3).all()
        assert (after > before + 0.1).any()
        # Layer 18 acts below: what arrives at layer 20 is not what the unsteered model has there.
        assert np.abs(before - clean).max() > 0.01
        with smol.intervene(plan):
            capped = each_turn_alone(smol, CHAT, 20)
        np.testing.assert_allclose(after, space.project(capped, 20), rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(
            clean, space.project(each_turn_alone(smol, CHAT, 20), 20), rtol=1e-3, atol=1e-3
        )

    def test_readings_of_a_plan_need_one(self, model, space):
        with pytest.raises(ConversationError, match="others need a plan"):
            trace(space, model, [CHAT], readings=["after"], progress=False)

    def test_a_plan_in_force_is_refused(self, model, space):
        with (
            model.intervene(space.add("calm", strength=0.1, layers=[1], unit="raw")),
            pytest.raises(InterventionError, match="while a plan acts"),
        ):
            trace(space, model, [CHAT], progress=False)


class TestResult:
    @pytest.fixture
    def found(self, model, space, chats) -> Trace:
        return trace(
            space,
            model,
            chats,
            layers=[0, 1],
            directions=["axis", "calm"],
            detail=True,
            progress=False,
        )

    def test_wide_has_a_column_for_each_direction(self, found):
        wide = found.wide(1)
        assert len(wide) == 5
        assert {"axis", "calm", "before:axis", "before:calm", "message", "domain"} <= set(wide)
        row = found.at(1, direction="calm").iloc[2]
        assert wide.loc[2, "calm"] == row["projection"]
        assert wide.loc[2, "before:calm"] == row["start"]

    def test_tokens_average_to_the_turn(self, found):
        means = found.tokens.groupby(["conversation", "turn", "layer", "direction"])[
            "projection"
        ].mean()
        for row in found.frame.itertuples():
            key = (row.conversation, row.turn, row.layer, row.direction)
            assert means[key] == pytest.approx(row.projection, rel=1e-4, abs=1e-5)
        said = found.tokens.query(
            "conversation == 'beans' and turn == 2 and layer == 0 and direction == 'axis'"
        )
        assert "".join(said["token"]) == CHAT.replies[2]

    def test_motion_of_several_axes_is_one_path(self, found):
        axis = found.motion(0).set_index("conversation")
        both = found.motion(0, directions=["axis", "calm"]).set_index("conversation")
        assert (both["path"] >= axis["path"] - 1e-9).loc[["beans", "short"]].all()
        assert axis["turns"].to_dict() == {"beans": 3, "short": 2}

    def test_curves_need_ten_conversations_unless_told(self, found):
        assert found.curves(by="domain").empty
        curves = found.curves(by="domain", fewest=2)
        assert curves[["group", "turn", "conversations"]].values.tolist() == [
            ["cooking", 0, 2],
            ["cooking", 1, 2],
        ]

    def test_an_unknown_group_is_refused_with_those_there_are(self, found):
        with pytest.raises(ConversationError, match=r"(?s)nothing of their 'topic'.*domain"):
            found.curves(by="topic")

    def test_some_conversations_alone(self, found):
        own = found.select(conversation="short")
        assert own.turns["conversation"].unique().tolist() == ["short"]
        assert len(own.frame) == 2 * 2 * 2
        assert own.tokens["conversation"].unique().tolist() == ["short"]
        assert len(found.select(domain=["cooking", "none"]).turns) == 5
        with pytest.raises(ConversationError, match="no conversation of the trace is like that"):
            found.select(domain="therapy")

    def test_saving_and_loading(self, found, tmp_path):
        found.save(tmp_path)
        again = Trace.load(tmp_path)
        pd.testing.assert_frame_equal(again.frame, found.frame)
        pd.testing.assert_frame_equal(again.tokens, found.tokens)
        assert again.card == found.card

    def test_no_trace_there(self, tmp_path):
        with pytest.raises(ConversationError, match="no trace in"):
            Trace.load(tmp_path)
