"""Plans of a space: the right vectors at the right layers, thresholds and strengths that hold on real text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persona_lens import PersonaModel, PersonaSpace, RunFolder, VectorTable, load_questions
from persona_lens.catalog.neutral import Exchange, load_neutral
from persona_lens.errors import InterventionError, SpaceError
from persona_lens.interventions import Direction, Floor, Plan
from persona_lens.model.batching import Ids
from persona_lens.space.budget import scaled_to_kl
from persona_lens.space.calibration import LEVELS, POPULATIONS, Calibration, Part
from persona_lens.transcripts import Transcript

LAYER = 20


def made_space(
    n_layers: int = 30, d_model: int = 16, *, card: dict[str, Any] | None = None, **parameters: Any
) -> PersonaSpace:
    """Random roles, two of which share their names with the axis and with a trait."""
    rng = np.random.default_rng(0)
    names = ["assistant", "stoic", *(f"role_{index}" for index in range(6))]
    space = PersonaSpace.from_vectors(
        {name: rng.normal(size=(n_layers, d_model)) * rng.uniform(1, 4, d_model) for name in names},
        default=rng.normal(size=(n_layers, d_model)) + 4,
        traits={"stoic": rng.normal(size=(n_layers, d_model))},
        n_resamples=5,
    )
    table = replace(space.table, card=card or {})
    return PersonaSpace(table, n_resamples=5, **parameters).fit()


def calibrated_by_hand(space: PersonaSpace) -> PersonaSpace:
    """Replies drawn at random stand for those of a run."""
    rng = np.random.default_rng(1)
    known = space.calibrated_directions()
    vectors = rng.normal(size=(200, len(space.layers_), space.table.d_model)) * 2 + 1
    norms = np.linalg.norm(vectors, axis=-1)
    part = Part("role", np.arange(200) % 2 == 1, known.coordinates(vectors), norms)
    space.calibration_ = Calibration.of([part], known.names)
    return space


@pytest.fixture(scope="module")
def made() -> PersonaSpace:
    return made_space()


# Directions -----------------------------------------------------------------------------------------


def test_the_assistant_is_the_axis_and_not_the_role_of_that_name(made: PersonaSpace) -> None:
    for name in ("assistant", "axis"):
        np.testing.assert_array_equal(made.direction(name).values, made.axis_)
    role = made.direction("role:assistant")
    np.testing.assert_allclose(
        role.values, made.vector("role:assistant") - made.role_mean_, atol=1e-6
    )
    assert made.direction().name == "assistant"


def test_a_role_and_a_trait_of_one_name_are_told_apart(made: PersonaSpace) -> None:
    kinds = {
        kind: row for row, kind in enumerate(made.table.kinds) if made.table.names[row] == "stoic"
    }
    role, trait = made.table.values[kinds["role"]], made.table.values[kinds["trait"]]
    np.testing.assert_array_equal(made.direction("trait:stoic").values, trait)
    direction = made.direction("role:stoic")
    np.testing.assert_allclose(direction.values, role - made.role_mean_, atol=1e-6)
    with pytest.raises(SpaceError, match=r'(?s)a role and a trait.*"role:stoic" or "trait:stoic"'):
        made.direction("stoic")
    with pytest.raises(SpaceError, match=r"(?s)'role_1' is no trait.*given a role"):
        made.direction("trait:role_1")


@pytest.mark.parametrize("scaling", ["center", "zscore"])
def test_a_component_points_where_its_score_grows(scaling: Any) -> None:
    space = made_space(3, scaling=scaling)
    rng = np.random.default_rng(2)
    h, step = rng.normal(size=(2, 16))
    for number in (1, 3):
        direction = space.direction(f"pc{number}", layers=1)
        before, after = space.transform(np.stack([h, h + step]), 1)[:, number - 1]
        assert after - before == pytest.approx(direction.values[0] @ step, rel=1e-4)


def test_components_of_an_l2_scaled_space_are_no_directions() -> None:
    space = made_space(3, scaling="l2")
    with pytest.raises(SpaceError, match=r'(?s)l2-scaled.*scaling="center"'):
        space.direction("pc1")
    assert space.calibrated_directions().names == ("axis",)


def test_vectors_may_be_given(made: PersonaSpace) -> None:
    vectors = np.random.default_rng(3).normal(size=(30, 16)).astype(np.float32)
    np.testing.assert_array_equal(made.direction(vectors).values, vectors)
    np.testing.assert_array_equal(made.direction(vectors, layers=[4, 2]).values, vectors[[4, 2]])
    found = made.direction(vectors[:2], layers=[7, 9])
    assert found.layers == (7, 9)
    np.testing.assert_array_equal(found.values, vectors[:2])


def test_a_direction_keeps_its_layers(made: PersonaSpace) -> None:
    ghost = Direction("ghost", (3, 8), np.eye(2, 16))
    for plan in (made.add(ghost, unit="raw"), made.ablate(ghost), made.rotate(ghost, degrees=5)):
        assert plan.layers == (3, 8)
    assert made.ablate(ghost, layers=8).layers == (8,)
    with pytest.raises(
        InterventionError, match=r"(?s)'ghost' is not known.*expected 3, 8.*given 4"
    ):
        made.ablate(ghost, layers=4)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("role_9", r"(?s)no vector named 'role_9'.*did you mean role_"),
        ("pc99", r"(?s)no such component.*pc1 to pc7"),
        (np.ones((1, 7)), r"(?s)another width.*expected d_model 16, given 7"),
        (Direction("narrow", (4,), np.ones((1, 7))), r"(?s)another width.*d_model 16, given 7"),
        (np.ones((2, 16)), r"(?s)do not fit its layers.*expected \[1, d_model\]"),
    ],
)
def test_directions_there_are_not(made: PersonaSpace, what: Any, message: str) -> None:
    with pytest.raises((SpaceError, InterventionError), match=message):
        made.direction(what, layers=4)


# Layers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "layers"),
    [
        ({}, tuple(range(30))),
        ({"layers": 7}, (7,)),
        ({"layers": -1}, (29,)),
        ({"layers": np.int64(7)}, (7,)),
        ({"layers": range(3, 6)}, (3, 4, 5)),
        ({"layers": np.arange(3, 6)}, (3, 4, 5)),
        ({"layers": [-2, 4]}, (28, 4)),
        ({"depth": (0.5, 0.6)}, (15, 16, 17)),
        ({"depth": (0.9, 1.0)}, (27, 28, 29)),
    ],
)
def test_layers_are_chosen_by_index_or_depth(
    made: PersonaSpace, choice: dict[str, Any], layers: tuple[int, ...]
) -> None:
    assert made.direction("role_1", **choice).layers == layers


def test_layers_by_default(made: PersonaSpace) -> None:
    assert made.add(unit="raw").layers == made.rotate(degrees=5).layers == (15,)
    assert made.ablate().layers == made.set(to=0.0).layers == tuple(range(30))
    capping = calibrated_by_hand(made_space())
    assert capping.floor().layers == capping.band().layers == tuple(range(21, 27))


@pytest.mark.parametrize(
    ("model", "n_layers", "capped", "steered"),
    [
        ("Qwen/Qwen3-32B", 64, range(46, 54), 32),
        ("meta-llama/Llama-3.3-70B-Instruct", 80, range(56, 72), 40),
    ],
)
def test_layers_of_the_paper(model: str, n_layers: int, capped: range, steered: int) -> None:
    card = {"reader": {"model": model, "n_layers": n_layers}}
    space = calibrated_by_hand(made_space(n_layers, 8, card=card))
    assert space.direction("assistant", layers="paper").layers == tuple(capped)
    assert space.floor().layers == space.ceil("pc1").layers == tuple(capped)
    assert space.floor(layers="paper").layers == space.band(layers="paper").layers == tuple(capped)
    for layers in (None, "paper"):
        assert space.add(unit="raw", layers=layers).layers == (steered,)
        assert space.rotate(degrees=5, layers=layers).layers == (steered,)
    assert space.add(space.direction("pc1"), unit="raw", layers="paper").layers == (steered,)


@pytest.mark.parametrize("model", ["google/gemma-2-27b-it", "google/gemma-2-27b"])
def test_gemma_is_steered_at_22_of_46_and_capped_nowhere_by_the_paper(model: str) -> None:
    card = {"reader": {"model": model, "n_layers": 46}}
    space = calibrated_by_hand(made_space(46, 8, card=card))
    assert space.add(unit="raw").layers == space.add(unit="raw", layers="paper").layers == (22,)
    with pytest.raises(InterventionError, match="names no layers for"):
        space.floor(layers="paper")


def test_other_models_are_steered_in_the_middle() -> None:
    card = {"reader": {"model": "google/gemma-2-9b-it", "n_layers": 42}}
    space = made_space(42, 8, card=card)
    assert space.add(unit="raw").layers == (21,)
    with pytest.raises(InterventionError, match=r"(?s)names no layers.*the middle one"):
        space.add(unit="raw", layers="paper")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"layers": "paper"}, r"(?s)names no layers for 'Qwen/Qwen3-32B'.*depth=\(0.7, 0.9\)"),
        ({"layers": "late"}, r'(?s)unknown layers.*indices or "paper"'),
        ({"layers": 30}, r"(?s)no vector is known.*expected 0-29, given 30"),
        ({"layers": 3, "depth": (0, 1)}, "exclude each other"),
        ({"depth": (0.9, 0.7)}, r"(?s)not a range of depths.*0 <= low < high <= 1"),
    ],
)
def test_layers_there_are_not(choice: dict[str, Any], message: str) -> None:
    card = {"reader": {"model": "Qwen/Qwen3-32B", "n_layers": 30}}  # not as many as the paper's
    with pytest.raises(InterventionError, match=message):
        made_space(card=card).direction("assistant", **choice)


def test_depths_are_of_the_model_and_not_of_the_layers_that_were_read() -> None:
    whole = made_space()
    table = VectorTable(
        **{
            **{name: getattr(whole.table, name) for name in ("names", "kinds", "labels", "counts")},
            "values": whole.table.values[:, [12, 22, 25]],
            "layers": (12, 22, 25),
            "card": {"reader": {"n_layers": 30}},
        }
    )
    space = PersonaSpace(table, n_resamples=5).fit()
    assert space.direction("assistant", layers=[-5]).layers == (25,)
    with pytest.raises(InterventionError, match=r"(?s)expected 12, 22, 25, given 15"):
        space.add(unit="raw")


def test_a_model_too_small_for_the_default_depth_can_be_capped() -> None:
    space = calibrated_by_hand(made_space(3))
    assert space.floor(layers=1).layers == (1,)
    assert space.floor(depth=(0.6, 0.9)).layers == (2,)
    with pytest.raises(InterventionError, match="no block of 3 lies at this depth"):
        space.floor()


# Thresholds -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Replies:
    """Every reply of the run: its mean residual, what it is of, whether its question is held out, its tokens."""

    means: np.ndarray
    kinds: np.ndarray
    held_out: np.ndarray
    texts: list[Transcript]

    def of(self, population: str) -> np.ndarray:
        return self.kinds == population if population != "all" else np.ones(len(self.kinds), bool)


@pytest.fixture(scope="module")
def replies(small_run: Path, smol: PersonaModel) -> Replies:
    run = RunFolder(small_run)
    opened = run.opened()
    held_out = {question.id for question in load_questions()[1:4:2]}
    kinds, held, means, texts = [], [], [], []
    for shard in opened.shards:
        means.append(opened.read_activations(shard))
        said: list[Ids] = [reply.ids for reply in opened.read_replies(shard)]
        for request, ids in zip(shard.requests, said, strict=True):
            kinds.append(shard.kind)
            held.append(request.question_id in held_out)
            messages = smol.encoder.messages(request.question, system=shard.system)
            texts.append(smol.encoder.with_reply(smol.encoder.prompt(messages), ids))
    return Replies(np.concatenate(means), np.array(kinds), np.array(held), texts)


@pytest.fixture(scope="module")
def space(
    small_space: PersonaSpace, smol: PersonaModel, tmp_path_factory: pytest.TempPathFactory
) -> PersonaSpace:
    """The space of `small_run` calibrated on tokens too; another object, for others share that one."""
    own = PersonaSpace.load(small_space.save(tmp_path_factory.mktemp("spaces") / "own"))
    names = ["pirate", "pc7", "assistant"]
    return own.calibrate(smol, directions=names, replies=6, progress=False)


@pytest.fixture(scope="module")
def short(smol: PersonaModel) -> Transcript:
    question = {"role": "user", "content": "Is the sea deep?"}
    answer = {"role": "assistant", "content": "Yes, some miles deep in places."}
    return smol.encoder.encode([question, answer])


@pytest.fixture(scope="module")
def texts(smol: PersonaModel) -> list[Transcript]:
    """Two plain answers, two sentences each."""

    def said(exchange: Exchange) -> list[dict[str, str]]:
        answer = ". ".join(exchange.answer.split(". ")[:2])
        return [
            {"role": "user", "content": exchange.question},
            {"role": "assistant", "content": f"{answer}."},
        ]

    return [smol.encoder.encode(said(exchange)) for exchange in load_neutral()[:2]]


def only(plan: Plan) -> Any:
    [step] = plan.steps
    return step.operation


def of_unit(about: str, unit: str) -> float:
    """The share of held-out replies or tokens that a plan prints."""
    found = re.search(rf"held-out questions: .*?(\d+)% of {unit}", about)
    assert found, about
    return int(found[1]) / 100


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("population", "kind"),
    [("all", "all"), ("default", "default"), ("roles", "role"), ("traits", "trait")],
)
def test_a_floor_lies_at_the_percentile_of_real_replies(
    space: PersonaSpace, replies: Replies, population: Any, kind: str
) -> None:
    plan = only(space.floor(percentile=30, population=population))
    known = replies.of(kind) & ~replies.held_out
    expected = [np.percentile(space.project(replies.means[known, i], i), 30) for i in range(21, 27)]
    np.testing.assert_allclose(plan.thresholds, expected, rtol=1e-4, atol=1e-3)
    assert f"percentile 30 of replies ({population}, n = {known.sum()})" in plan.about


@pytest.mark.embedded
@pytest.mark.parametrize("percentile", [10, 50, 75.5])
@pytest.mark.parametrize("what", ["assistant", "pc2"])
def test_the_printed_share_is_that_of_the_held_out_replies(
    space: PersonaSpace, replies: Replies, what: str, percentile: float
) -> None:
    for population, kind in (("all", "all"), ("roles", "role")):
        held = replies.means[replies.of(kind) & replies.held_out, LAYER]
        options: Any = {"percentile": percentile, "population": population, "layers": LAYER}
        floor, ceil = only(space.floor(what, **options)), only(space.ceil(what, **options))
        projections = held @ floor.direction.units[0]
        below = (projections < floor.thresholds[0]).mean()
        # Quantiles are stored percent by percent, so a share is known to one reply.
        near = 1 / len(held) + 0.006
        assert of_unit(floor.about, "replies") == pytest.approx(below, abs=near)
        assert of_unit(ceil.about, "replies") == pytest.approx(1 - below, abs=near)
        np.testing.assert_allclose(floor.thresholds, ceil.thresholds)


@pytest.mark.embedded
def test_token_percentiles_are_those_of_the_tokens_read(
    small_space: PersonaSpace,
    smol: PersonaModel,
    replies: Replies,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = PersonaSpace.load(small_space.save(tmp_path / "space"))
    read: list[Transcript] = []
    plain = smol.projections

    def noted(some: list[Transcript], *given: Any, **options: Any) -> list[Any]:
        read.extend(some)
        return plain(some, *given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(smol, "projections", noted)
        space.calibrate(smol, directions=["pirate"], replies=3, progress=False)
    assert len(read) == 3 * 3
    ours = {tuple(text.ids): place for place, text in enumerate(replies.texts)}
    places = [ours[tuple(text.ids)] for text in read]
    assert len(set(places)) > 6

    units = np.stack([space.direction(name, layers=LAYER).units[0] for name in ("axis", "pirate")])
    tokens = smol.projections(read, units[None], layers=[LAYER])
    values = np.concatenate([each.values[:, 0] for each in tokens])
    norms = np.concatenate([each.norms[:, 0] for each in tokens])
    lengths = [len(each.norms) for each in tokens]
    held = np.repeat(replies.held_out[places], lengths)
    kinds = np.repeat(replies.kinds[places], lengths)
    calibration = space.token_calibration_
    assert calibration is not None
    for place, population in enumerate(POPULATIONS):
        mine = kinds == population if population != "all" else np.ones_like(held)
        assert calibration.counts[place].tolist() == [(mine & ~held).sum(), (mine & held).sum()]
        assert calibration.norms[place, LAYER] == pytest.approx(norms[mine].mean(), rel=1e-3)
        for which, name in enumerate(("axis", "pirate")):
            if (mine & ~held).any():
                np.testing.assert_allclose(
                    calibration.quantile(name, population, 40)[LAYER],
                    np.percentile(values[mine & ~held, which], 40),
                    rtol=1e-3,
                    atol=1e-2,
                )
    floor = only(space.floor("pirate", percentile=60, of="tokens", layers=LAYER))
    assert floor.thresholds[0] == pytest.approx(np.percentile(values[~held, 1], 60), abs=1e-2)
    below = (values[held, 1] < floor.thresholds[0]).mean()
    assert of_unit(floor.about, "tokens") == pytest.approx(below, abs=1 / held.sum() + 0.006)


@pytest.mark.embedded
@pytest.mark.parametrize("of", ["replies", "tokens"])
def test_after_a_floor_on_a_component_no_score_is_below_the_quantile(
    space: PersonaSpace, smol: PersonaModel, short: Transcript, of: Any
) -> None:
    plan = space.floor("pc1", percentile=60, of=of, layers=LAYER)
    calibration = space.calibration_ if of == "replies" else space.token_calibration_
    assert calibration is not None
    quantile = calibration.quantile("pc1", "all", 60)[LAYER]
    masks = list(np.eye(len(short), dtype=bool)[smol.reply_positions(short)])

    def scores() -> np.ndarray:
        tokens = smol.pooled([short] * len(masks), masks, layers=[LAYER])[:, 0]
        return space.transform(tokens, LAYER)[:, 0]

    before = scores()
    with smol.intervene(plan):
        after = scores()
    assert (before < quantile - 0.1).any()
    np.testing.assert_allclose(after, np.maximum(before, quantile), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("scaling", ["center", "zscore"])
def test_thresholds_on_components_are_projections_of_scores(scaling: Any) -> None:
    space = calibrated_by_hand(made_space(3, scaling=scaling))
    floor = only(space.floor("pc2", percentile=60, layers=1))
    assert space.calibration_ is not None
    quantile = space.calibration_.quantile("pc2", "all", 60)[1]
    h = np.random.default_rng(4).normal(size=16)
    unit = floor.direction.units[0]
    at_threshold = h + (floor.thresholds[0] - h @ unit) * unit
    assert space.transform(at_threshold, 1)[1] == pytest.approx(quantile, rel=1e-5)


@pytest.mark.embedded
def test_other_directions_are_calibrated_on_the_spot(space: PersonaSpace, replies: Replies) -> None:
    control = space.direction("assistant").random(seed=1)
    known = replies.means[~replies.held_out]
    for what in ("methodical", "role:assistant", control):
        floor = only(space.floor(what, percentile=80, layers=[LAYER, 24]))
        for place, layer in enumerate((LAYER, 24)):
            projections = known[:, layer] @ floor.direction.units[place]
            expected = np.percentile(projections, 80)
            assert floor.thresholds[place] == pytest.approx(expected, rel=1e-4, abs=1e-2)


@pytest.mark.embedded
@pytest.mark.parametrize("name", ["pc1", "pirate"])
def test_a_direction_is_calibrated_as_itself_whatever_its_name(
    space: PersonaSpace, name: str
) -> None:
    by_name = only(space.floor(name, percentile=50, layers=LAYER))
    same = only(space.floor(space.direction(name, layers=LAYER), percentile=50))
    np.testing.assert_allclose(same.thresholds, by_name.thresholds, rtol=1e-4, atol=1e-3)
    vectors = np.random.default_rng(5).normal(size=(1, 576))
    other = only(space.floor(Direction(name, (LAYER,), vectors), percentile=50))
    assert "of replies" in other.about
    assert "of tokens" not in other.about, "the tokens are known along the space's own only"


@pytest.mark.embedded
def test_calibrated_components_and_names_are_those_of_the_space(
    space: PersonaSpace, replies: Replies
) -> None:
    assert space.calibration_ is not None
    names = space.calibration_.directions
    assert names == ("axis", *(f"pc{n}" for n in range(1, 6)), "pirate", "pc7")
    default = replies.means[replies.of("default"), LAYER]
    z = space.project(default, LAYER, onto="pc7", units="default")
    assert z.mean() == pytest.approx(0, abs=1e-3)
    assert z.std(ddof=1) == pytest.approx(1, abs=1e-3)


def test_without_a_run_there_are_no_percentiles(made: PersonaSpace) -> None:
    for call in (made.floor, made.set, made.calibrate):
        with pytest.raises(SpaceError, match=r"(?s)(not calibrated|no replies).*with its run"):
            call()
    with pytest.raises(SpaceError, match=r"(?s)norm of the residual stream.*calibrate\(model\)"):
        made.add()


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.floor(of="tokens"), r"(?s)not calibrated on tokens.*space.calibrate\(model\)"),
        (lambda s: s.gate(s.ablate(), below=9), r"(?s)not calibrated on tokens.*space.calibrate"),
        (lambda s: s.floor(of="words"), r"(?s)unknown unit of a percentile.*replies or tokens"),
        (lambda s: s.floor(population="nobody"), r"(?s)unknown population.*all, default, roles"),
        (lambda s: s.set(to="nobody"), r"(?s)unknown population.*all, default, roles"),
        (lambda s: s.floor(percentile=101), r"(?s)not a percentile.*0 to 100, given 101"),
        (lambda s: s.ceil(percentile=-1), r"(?s)not a percentile.*given -1"),
        (lambda s: s.gate(s.ablate()), r"(?s)one side.*below=... or above=..."),
        (lambda s: s.gate(s.ablate(), below=1, above=9), r"(?s)one side.*below=... or above=..."),
        (lambda s: s.add(unit="miles"), r"(?s)unknown unit.*residual, spread or raw"),
        (lambda s: s.add(), r'(?s)not known.*calibrate\(model\).*fit --model.*unit="spread"'),
        (lambda s: s.add(unit="spread", kl=0.1), r"(?s)measured on a model.*pass model=..."),
    ],
)
def test_errors_say_what_to_do(small_space: PersonaSpace, call: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        call(small_space)


@pytest.mark.embedded
def test_percentiles_of_tokens_that_were_not_asked_for(space: PersonaSpace) -> None:
    with pytest.raises(SpaceError, match=r"(?s)along 'ghost'.*axis, pc1.*directions=\['ghost'\]"):
        space.floor("ghost", of="tokens")
    with pytest.raises(SpaceError, match="thresholds of your own"):
        space.floor(space.direction("ghost"), of="tokens")


def test_a_population_without_replies_has_no_percentiles_and_no_mean() -> None:
    space = calibrated_by_hand(made_space())
    with pytest.raises(SpaceError, match="no replies of population 'traits' were calibrated on"):
        space.floor(population="traits")
    with pytest.raises(SpaceError, match="no replies of population 'default' were calibrated on"):
        space.set(to="default")
    assert only(space.set(to="roles")).about == "mean of roles replies"


@pytest.mark.embedded
def test_another_model_cannot_calibrate(small_space: PersonaSpace, tiny_llama: Path) -> None:
    other = PersonaModel.load(tiny_llama, dtype="float32")
    with pytest.raises(SpaceError, match=r"(?s)not the model the run was read with.*smollm2"):
        small_space.calibrate(other, progress=False)
    assert small_space.token_calibration_ is None


# What plans do to real text -------------------------------------------------------------------------


def touched(smol: PersonaModel, plan: Plan, texts: list[Transcript]) -> Any:
    """What a plan did to the replies, in the one row of its receipt."""
    with smol.intervene(plan.where([smol.reply_positions(text) for text in texts])) as receipt:
        smol.pooled(texts, layers=[LAYER])
    frame = receipt.frame()
    assert len(frame) == 1
    return frame.iloc[0]


@pytest.mark.embedded
@pytest.mark.parametrize("strength", [0.2, -0.1])
def test_a_strength_is_a_fraction_of_the_residual_norm(
    space: PersonaSpace, smol: PersonaModel, texts: list[Transcript], strength: float
) -> None:
    did = touched(smol, space.add("pirate", strength, layers=LAYER), texts)
    assert did["share"] == 1
    assert did["mean_change"] == pytest.approx(abs(strength), rel=0.2)
    assert np.sign(did["after"] - did["before"]) == np.sign(strength)


@pytest.mark.embedded
def test_a_strength_in_spreads_of_the_roles(
    space: PersonaSpace, smol: PersonaModel, texts: list[Transcript]
) -> None:
    roles = [
        name
        for name, kind in zip(space.table.names, space.table.kinds, strict=True)
        if kind == "role"
    ]
    spread = space.project(roles, LAYER, kind="role").std(ddof=1)
    did = touched(smol, space.add("assistant", -1.5, unit="spread", layers=LAYER), texts)
    assert did["after"] - did["before"] == pytest.approx(-1.5 * spread, rel=1e-3)


@pytest.mark.embedded
def test_raw_adds_the_stored_vector(
    space: PersonaSpace, smol: PersonaModel, texts: list[Transcript]
) -> None:
    before = smol.pooled(texts, layers=[LAYER])[:, 0]
    with smol.intervene(space.add("pirate", unit="raw", layers=LAYER)):
        after = smol.pooled(texts, layers=[LAYER])[:, 0]
    expected = space.vector("pirate")[LAYER] - space.role_mean_[LAYER]
    np.testing.assert_allclose(after - before, np.stack([expected] * 2), rtol=1e-3, atol=1e-3)


@pytest.mark.embedded
def test_every_row_may_have_its_own_strength(
    space: PersonaSpace, smol: PersonaModel, texts: list[Transcript]
) -> None:
    strengths = [-0.1, 0.0, 0.3]
    plan = space.add("assistant", strengths, layers=LAYER)
    assert plan.rows == 3
    same = [texts[0]] * 3
    with smol.intervene(plan):
        projections = space.project(smol.pooled(same, layers=[LAYER])[:, 0], LAYER)
    assert space.token_calibration_ is not None
    norm = space.token_calibration_.norms[POPULATIONS.index("all"), LAYER]
    np.testing.assert_allclose(
        projections - projections[1], np.array(strengths) * norm, rtol=1e-3, atol=1e-3
    )
    with (
        pytest.raises(InterventionError, match=r"(?s)another number of rows.*expected 3 prompts"),
        smol.intervene(plan),
    ):
        smol.pooled(texts, layers=[LAYER])


@pytest.mark.embedded
def test_ablation_leaves_no_projection(
    space: PersonaSpace, smol: PersonaModel, texts: list[Transcript]
) -> None:
    did = touched(smol, space.ablate("pirate", layers=LAYER), texts)
    assert abs(did["before"]) > 1
    assert max(abs(did["lowest"]), abs(did["highest"])) < 1e-2


@pytest.mark.embedded
def test_mean_ablation_hits_the_mean_of_the_replies(
    space: PersonaSpace, smol: PersonaModel, texts: list[Transcript], replies: Replies
) -> None:
    for what, to, kind in (("assistant", "default", "default"), ("pc1", "roles", "role")):
        did = touched(smol, space.set(what, to=to, layers=LAYER), texts)  # pyright: ignore[reportArgumentType]
        unit = space.direction(what, layers=LAYER).units[0]
        mean = (replies.means[replies.of(kind), LAYER] @ unit).mean()
        assert did["lowest"] == pytest.approx(mean, rel=1e-3, abs=1e-2)
        assert did["highest"] == pytest.approx(mean, rel=1e-3, abs=1e-2)
    assert only(space.set(to=3.0, layers=LAYER)).targets.tolist() == [3.0]


@pytest.mark.embedded
def test_a_band_holds_on_both_sides(
    space: PersonaSpace, smol: PersonaModel, texts: list[Transcript]
) -> None:
    plan = space.band(percentiles=(40, 60), layers=LAYER)
    low, high = (only(space.floor(percentile=p, layers=LAYER)).thresholds[0] for p in (40, 60))
    band = only(plan)
    np.testing.assert_allclose([band.low[0], band.high[0]], [low, high])
    did = touched(smol, plan, texts)
    assert did["lowest"] == pytest.approx(low, abs=1e-2)
    assert did["highest"] == pytest.approx(high, abs=1e-2)
    assert 0 < did["changed"] < did["seen"]
    with pytest.raises(InterventionError, match="upside down"):
        space.band(percentiles=(60, 40))


@pytest.mark.embedded
def test_a_rotation_turns_by_the_angle_and_keeps_norms(
    space: PersonaSpace, smol: PersonaModel, texts: list[Transcript]
) -> None:
    unit = space.direction("assistant", layers=LAYER).units[None]

    def angles() -> tuple[np.ndarray, np.ndarray]:
        [tokens] = smol.projections(texts[:1], unit, layers=[LAYER])
        return np.degrees(np.arccos(tokens.values[:, 0, 0] / tokens.norms[:, 0])), tokens.norms

    before, norms = angles()
    with smol.intervene(space.rotate(degrees=10, layers=LAYER)):
        after, kept = angles()
    np.testing.assert_allclose(before - after, 10, atol=0.05)
    np.testing.assert_allclose(kept, norms, rtol=1e-3)


@pytest.mark.embedded
def test_a_gate_opens_for_the_tokens_that_pass(
    space: PersonaSpace, smol: PersonaModel, texts: list[Transcript]
) -> None:
    push = space.add("pirate", 0.2, layers=LAYER)
    unit = space.direction("assistant", layers=LAYER).units[None]
    read = smol.projections(texts, unit, layers=[LAYER])
    for side in ("below", "above"):
        plan = space.gate(push, **{side: 50})  # pyright: ignore[reportArgumentType]
        threshold = only(plan).thresholds[0]
        passing = [
            (tokens.values < threshold) if side == "below" else (tokens.values > threshold)
            for tokens in read
        ]
        n = sum(int(some.sum()) for some in passing)
        did = touched(smol, plan, texts)
        assert 0 < n < did["seen"]
        assert did["changed"] == pytest.approx(n, abs=1)  # one may lie at the threshold
        whole = touched(smol, space.gate(push, **{side: 50}, per="sequence"), texts)  # pyright: ignore[reportArgumentType]
        since = [np.maximum.accumulate(some.ravel()).sum() for some in passing]
        assert whole["changed"] == pytest.approx(sum(since), abs=1)


# A budget of KL divergence --------------------------------------------------------------------------


@pytest.mark.embedded
def test_a_budget_is_spent_whatever_the_strength(
    space: PersonaSpace, smol: PersonaModel, short: Transcript
) -> None:
    plan = space.add("assistant", 0.5, layers=15)
    solved = scaled_to_kl(smol, plan, 0.05, texts=[short], progress=False)
    assert smol.kl(solved, [short])[0].mean() == pytest.approx(0.05, rel=0.05)
    assert 0 < only(solved).strength < 0.5


@pytest.mark.embedded
def test_a_space_spends_a_budget_the_way_the_sign_says(
    space: PersonaSpace, smol: PersonaModel, short: Transcript, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persona_lens.space.budget.neutral_transcripts", lambda *_: [short])
    plan = space.add("assistant", -0.1, layers=15, kl=0.02, model=smol)
    [values] = smol.kl(plan, [short])
    assert values.mean() == pytest.approx(0.02, rel=0.05)
    assert only(plan).strength < 0


def test_a_budget_that_cannot_be_spent_is_refused(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    said = [
        model.encoder.encode(
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
        )
    ]
    tried: list[float] = []
    plain = model.kl

    def noted(plan: Plan, texts: list[Transcript]) -> list[np.ndarray]:
        tried.append(only(plan).strength)
        return plain(plan, texts)

    monkeypatch.setattr(model, "kl", noted)
    idle = Plan.of(Floor(Direction("ghost", (1,), np.ones((1, 16))), thresholds=np.array([-1e9])))
    with pytest.raises(InterventionError, match=r"(?s)no strength costs 0.1 nats.*never engage"):
        scaled_to_kl(model, idle, 0.1, texts=said, progress=False)
    assert max(tried) == pytest.approx(4096)
    with pytest.raises(InterventionError, match="budget must be above zero"):
        scaled_to_kl(model, idle, 0.0, texts=said, progress=False)


# On disk --------------------------------------------------------------------------------------------


@pytest.mark.embedded
def test_a_saved_space_makes_the_same_plans(space: PersonaSpace, tmp_path: Path) -> None:
    opened = PersonaSpace.load(space.save(tmp_path / "space"))
    for before, after in (
        (space.calibration_, opened.calibration_),
        (space.token_calibration_, opened.token_calibration_),
    ):
        assert before is not None
        assert after is not None
        assert after.directions == before.directions
        for name in ("counts", "means", "deviations", "quantiles", "norms"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))

    def plans(its: PersonaSpace) -> list[Plan]:
        return [
            its.floor(percentile=62.5) + its.add("pirate", 0.2),
            its.ceil("pc2", of="tokens", population="roles"),
            its.set("pc1", to="all") + its.ablate("methodical", layers=3),
            its.gate(its.add("ghost", unit="spread"), "pirate", above=90),
        ]

    for mine, its in zip(plans(space), plans(opened), strict=True):
        assert repr(mine) == repr(its)
        for step, other in zip(mine.steps, its.steps, strict=True):
            np.testing.assert_array_equal(
                step.operation.direction.values, other.operation.direction.values
            )


@pytest.mark.embedded
def test_a_space_without_its_run_keeps_its_percentiles(space: PersonaSpace, tmp_path: Path) -> None:
    folder = space.save(tmp_path / "space")
    card = json.loads((folder / "card.json").read_text("utf-8"))
    card["parameters"]["run"] = str(tmp_path / "moved")
    (folder / "card.json").write_text(json.dumps(card), "utf-8")
    opened = PersonaSpace.load(folder)
    assert opened.run is None
    assert repr(opened.floor()) == repr(space.floor())
    with pytest.raises(SpaceError, match=r"(?s)no percentiles of replies.*expected axis, pc1"):
        opened.floor("ghost")


def test_a_space_of_an_older_format_is_refused(made: PersonaSpace, tmp_path: Path) -> None:
    card = made.save(tmp_path / "space") / "card.json"
    card.write_text(re.sub(r'"format": \d+', '"format": 1', card.read_text("utf-8")), "utf-8")
    with pytest.raises(SpaceError, match=r"(?s)another version.*given 1.*fit the run again"):
        PersonaSpace.load(tmp_path / "space")


def test_fractional_percentiles_lie_between_whole_ones() -> None:
    space = calibrated_by_hand(made_space())
    assert space.calibration_ is not None
    assert LEVELS[60] == 60
    lower, between, upper = (only(space.floor(percentile=p)).thresholds for p in (60, 60.25, 61))
    np.testing.assert_allclose(between, 0.75 * lower + 0.25 * upper)


# As the paper's code does ----------------------------------------------------------------------------


def test_a_space_read_as_in_the_paper_plans_as_in_the_paper() -> None:
    card = {"reader": {"n_layers": 30, "tokens": "paper"}}
    space = calibrated_by_hand(made_space(card=card))
    push = space.add("assistant", -10)
    assert "tokens all, sinks too; unit vector as stored; strength -10" in repr(push)
    np.testing.assert_allclose(push.steps[0].operation.lengths, np.linalg.norm(space.axis_[15]))
    for plan in (space.floor(), space.ablate("pc1"), space.set(to=0.0), space.rotate(degrees=3)):
        assert all(step.where.sinks for step in plan.steps)
    assert "unit spread" in repr(space.add(unit="spread"))
    assert not made_space().add(unit="raw").steps[0].where.sinks
