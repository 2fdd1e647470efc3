"""The packaged space is complete, real, and opens without a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from persona_lens import PersonaModel, PersonaSpace, Sampling, load_roles, load_traits
from persona_lens.analysis import group_order
from persona_lens.errors import SpaceError
from persona_lens.space.shipped import SHIPPED, shipped_folder
from persona_lens.statistics.pca import unit

NAME = "smollm2-135m-instruct"
MEGABYTE = 1e6


@pytest.fixture(scope="module")
def shipped() -> PersonaSpace:
    return PersonaSpace.load(NAME)


def test_it_is_complete(shipped: PersonaSpace) -> None:
    table = shipped.table
    names = {
        kind: {table.names[row] for row in table.indices(kind=kind)} for kind in ("role", "trait")
    }
    assert names["role"] == {role.name for role in load_roles("full")}
    assert names["trait"] == {trait.name for trait in load_traits("full")}
    assert table.layers == tuple(range(30))
    assert table.card["prompts"] == {"default": 5, "role": 5, "trait": 5}
    assert set(table.counts[table.indices(kind="role")]) <= {29, 30}  # a reply may be empty
    assert table.counts[0] >= 475
    assert shipped.separability_ is not None
    assert shipped.token_calibration_ is not None
    assert shipped.separability_.layers == table.layers
    assert sum(table.card["label_counts"]["role-pirate"].values()) <= 30


def test_it_is_small() -> None:
    folder = shipped_folder(f"{NAME}/")  # as a shell completes it
    assert folder is not None
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert size < 27 * MEGABYTE


def test_it_shows_the_axis(shipped: PersonaSpace) -> None:
    for layer in (10, 20, 29):
        order = group_order(shipped, layer, n_permutations=999)
        assert order.correlation > 0.6
        assert order.p_value <= 0.001
        assert order.n_roles == 275
    ranking = shipped.ranking(20)["name"].tolist()
    assert ranking.index("moderator") < 30
    assert ranking.index("pirate") > 245


def test_packing_hardly_moved_it(shipped: PersonaSpace) -> None:
    """The axis was stored in full; the packed vectors give it again."""
    table = shipped.table
    again = table.values[0] - table.values[table.axis_rows()].mean(axis=0, dtype=np.float64)
    assert (unit(again) * unit(shipped.axis_)).sum(axis=1).min() > 0.9995
    assert table.folds is not None
    assert table.folds.shape[1] == 2


def test_opening_it_loads_no_model_and_names_what_there_is() -> None:
    code = (
        "import sys; from persona_lens import PersonaSpace\n"
        f"space = PersonaSpace.load({NAME!r}); space.ranking(20); space.sample_replies()\n"
        "assert 'transformers' not in sys.modules and 'transformer_lens' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(SpaceError, match=f"(?s)no space in elsewhere.*{SHIPPED[0]}"):
        PersonaSpace.load("elsewhere")


def test_a_folder_of_the_same_name_comes_first(
    shipped: PersonaSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    roles = {f"role_{i}": np.eye(2, 8) * (i + 1) for i in range(4)}
    PersonaSpace.from_vectors(roles, default=np.ones((2, 8))).fit().save(NAME)
    assert PersonaSpace.load(NAME).table.d_model == 8
    assert shipped.table.d_model == 576


def test_its_replies_are_read_back_by_their_own_model(shipped: PersonaSpace) -> None:
    replies = shipped.sample_replies()
    assert set(replies["label"].dropna()) == {"fully", "somewhat", "not"}
    assert replies.loc[replies["kind"] != "role", "label"].isna().all()
    assert (replies["reply"].str.len() > 0).mean() > 0.95


@pytest.mark.embedded
def test_new_replies_fall_where_the_space_says(shipped: PersonaSpace, smol: PersonaModel) -> None:
    """The space holds for the model as it is loaded today: fresh replies of two roles lie on their sides."""
    means = {}
    for role in ("analyst", "pirate"):
        system = load_roles([role])[0].prompts[0]
        prompts = [
            smol.encoder.prompt(smol.encoder.messages(question, system=system))
            for question in ("What is a good life?", "Tell me about the sea.", "What annoys you?")
        ]
        replies = smol.generate(prompts, Sampling(max_new_tokens=32, seed=1), layers=[20])
        means[role] = np.stack([reply.mean[0] for reply in replies if reply.mean is not None])
    analyst, pirate = (
        shipped.project(means[role].mean(axis=0), 20, units="roles")
        for role in ("analyst", "pirate")
    )
    assert analyst > pirate + 1


def test_a_compact_copy_of_a_space_finds_the_same(
    small_space: PersonaSpace, tmp_path: Path
) -> None:
    copy = PersonaSpace.load(small_space.save(tmp_path / "compact", compact=True))
    np.testing.assert_allclose(copy.axis_, small_space.axis_, rtol=1e-6)
    plain = small_space.ranking(20).set_index("name")["projection"]
    packed = copy.ranking(20).set_index("name")["projection"]
    assert np.abs(plain - packed[plain.index]).max() < 0.02 * np.ptp(plain)
    assert copy.table.folds is not None
    assert copy.table.folds.shape[1] == 2
    with pytest.raises(SpaceError, match="no replies lie beside"):
        copy.sample_replies()
