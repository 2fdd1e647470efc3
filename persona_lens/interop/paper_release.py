"""The vectors published with the Assistant Axis paper (Lu et al., arXiv 2601.10387): a space, an axis and plans.

    release = read_release("lu-christina/assistant-axis-vectors", model="qwen-3-32b")
    print(*release.notes, sep="\\n")                        # what was found, and what was turned round
    release.space.ranking(layer=48)
    with model.intervene(release.plan("layers_46:54-p0.25")) as receipt: ...

A release is a folder: `assistant_axis.pt`, `default_vector.pt`, `role_vectors/<role>.pt`,
`trait_vectors/<trait>.pt` and `capping_config.pt`, tensors `[n_layers, d_model]` in bfloat16. What the paper's
pipeline writes is read as well: `axis.pt`, a tensor or `{"axis": ...}`, and `vectors/<role>.pt`, `{"vector",
"type", "role"}`, the default among them. Layers are blocks from 0. Sign convention: the Assistant is positive,
whatever way the files point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.errors import InterventionError, SpaceError
from persona_lens.interop.capping_config import CappingConfig, Reading, read_capping_config
from persona_lens.interop.hub_files import hub_folder, is_repo_id
from persona_lens.interop.release_files import (
    AXIS_FILES,
    Vector,
    check_shapes,
    looks_like_release,
    mean_of,
    orient_axis,
    read_axis_file,
    read_roles,
    read_vectors,
)
from persona_lens.interop.released_thresholds import released_calibration
from persona_lens.interventions import Direction, Origin, Plan
from persona_lens.persona_space import PersonaSpace
from persona_lens.runs.engines.reading import POOLING, Tokens

MODELS = {
    "gemma-2-27b": "google/gemma-2-27b-it",
    "qwen-3-32b": "Qwen/Qwen3-32B",
    "llama-3.3-70b": "meta-llama/Llama-3.3-70B-Instruct",
}
"""Subfolders of the published dataset, and the model each belongs to."""


@dataclass(frozen=True, eq=False)
class Release:
    """What a release holds, turned so that the Assistant is positive.

    Attributes:
        axis: The axis of the file, at every layer where it is not zero; without such a file, default minus mean of
            the roles. Named "assistant".
        axis_cosines: Cosine of the file's axis, as stored, with default minus mean of the roles, a layer; None if
            there is only one of the two.
        notes: Sentences on what was found and what was turned round.
        default, roles, traits: The vectors, float32; None or empty where there are none.
        card: Where they come from.
        capping: The capping settings; None without such a file, as for Gemma 2.
    """

    axis: Direction
    axis_cosines: Float[np.ndarray, " layer"] | None
    notes: tuple[str, ...]
    default: Vector | None = None
    roles: Mapping[str, Vector] = field(default_factory=dict)
    traits: Mapping[str, Vector] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    capping: CappingConfig | None = None

    @cached_property
    def space(self) -> PersonaSpace:
        """The space of the vectors, fitted when first asked for; its axis is that of the file.

        Default minus mean of the roles, which bfloat16 moves by some percent, is in `recomputed_axis_`, and how
        far it lies from the file's axis in `axis_table`. The release has one vector a role, so its components
        differ a little from the paper's, which has two. Without single replies there are no intervals over
        questions. Of thresholds in percentiles there are those of the capping file.

        Raises:
            SpaceError: No default vector, or fewer than three roles.
        """
        if self.default is None:
            raise SpaceError(
                "this release holds no vector of the default Assistant",
                expected="default_vector.pt, or vectors/default.pt",
            )
        axis = None
        if self.axis_cosines is not None:
            axis = self.default - mean_of(self.roles)
            axis[list(self.axis.layers)] = self.axis.values
        space = PersonaSpace.from_vectors(self.roles, self.default, self.traits, axis=axis)
        space.table = replace(space.table, card=self.card)
        space.fit()
        if self.capping is not None:
            space.calibration_ = released_calibration(self.capping, space.layers_)
        return space

    @property
    def axis_table(self) -> pd.DataFrame:
        """The axis of the file beside default minus mean of the roles, a row a layer.

        Returns:
            Columns `layer`, `cosine` of the two, `length` of the file's, `recomputed_length`, and `difference`:
            how far they are apart, over the length of the file's.

        Raises:
            SpaceError: There is only one of the two.
        """
        if self.axis_cosines is None or self.default is None:
            raise SpaceError(
                "there is only one axis: nothing to compare it with", given=self.notes[1]
            )
        ours = (self.default - mean_of(self.roles))[list(self.axis.layers)].astype(np.float64)
        lengths, recomputed = self.axis.lengths, np.linalg.norm(ours, axis=1)
        return pd.DataFrame(
            {
                "layer": self.axis.layers,
                "cosine": (ours * self.axis.units).sum(axis=1) / recomputed,
                "length": lengths,
                "recomputed_length": recomputed,
                "difference": np.linalg.norm(ours - self.axis.values, axis=1) / lengths,
            }
        )

    @property
    def experiments(self) -> tuple[str, ...]:
        """Ids of the capping settings, such as "layers_46:54-p0.25" (end left out)."""
        return () if self.capping is None else tuple(self.capping.experiments)

    def plan(self, experiment: str) -> Plan:
        """The plan of one capping setting; directions point to the Assistant.

        It leaves BOS and attention sinks alone, unless the release was read with `tokens="paper"`. The released
        code does not: `plan.where("all", sinks=True)`.

        Raises:
            InterventionError: No such setting, or one that cannot be read safely; see
                `persona_lens.interop.capping_config`.

        Source: paper section 5; released code.
        """
        if self.capping is None:
            raise InterventionError(
                "this release has no capping settings",
                expected="capping_config.pt",
                remedy="make a plan from its space or its axis",
            )
        plan = self.capping.plan(experiment)
        as_in_paper = self.card.get("reader", {}).get("tokens") == "paper"
        return plan.where("all", sinks=True) if as_in_paper else plan


def read_release(
    source: str | Path,
    *,
    model: str | None = None,
    revision: str | None = None,
    operation: Reading = "auto",
    vectors: bool = True,
    tokens: Tokens = "answer",
) -> Release:
    """Read a release; no code in its files is run.

    Args:
        source: A folder, or a dataset on the hub: "lu-christina/assistant-axis-vectors".
        model: Subfolder, such as "qwen-3-32b"; needed on the hub, where only it is downloaded.
        revision: Branch, tag or commit on the hub.
        operation: What a cap does along the vector as stored. `auto`: on a vector that points from the Assistant
            to the roles a ceiling, as in the released code and files; on one that points to the Assistant a
            floor, as in the paper's equation. A file does not tell what it means, so the second is a choice, and
            the notes say so. `ceiling` or `floor`: this, whichever way the vector points; needed for vectors
            that lie neither along nor against the axis.
        vectors: False leaves the vectors of roles and traits where they are, on the hub about 400 MB a model: the
            release has its axis and its capping settings, and no space.
        tokens: `paper` makes all plans of the release and of its space do what the released code does: touch BOS
            and attention sinks, and add in multiples of the stored vector.

    Raises:
        SpaceError: No release there, files that are damaged or hold more than tensors, or vectors that do not fit
            together.
        InterventionError: The capping file has another layout.

    Source: paper sections 2.1, 3.1 and 5; released dataset and code.

    Examples:
        >>> import tempfile, torch
        >>> folder = Path(tempfile.mkdtemp())
        >>> torch.save(torch.tensor([[3.0, 4.0]]), folder / "assistant_axis.pt")
        >>> against = {"vector": torch.tensor([-3.0, -4.0]), "layer": 0}
        >>> cap = {"id": "layers_0:1-p0.25", "interventions": [{"vector": "v", "cap": -2.5}]}
        >>> torch.save({"vectors": {"v": against}, "experiments": [cap]}, folder / "capping_config.pt")
        >>> read_release(folder).plan("layers_0:1-p0.25")
        Plan of 1 step
          1. floor 'assistant'; at layers 0; tokens all; at 2.5
    """
    if tokens not in POOLING:
        raise SpaceError(
            "no such choice of tokens", expected=" or ".join(POOLING), given=repr(tokens)
        )
    folder = _locate(source, model, revision, vectors=vectors)
    default, roles = read_roles(folder) if vectors else (None, {})
    traits = {}
    if vectors:
        traits = {name: vector for name, vector, _ in read_vectors(folder / "trait_vectors")}
    check_shapes({"default": default, **roles}, traits)
    counts = f"{len(roles)} roles, {len(traits)} traits"
    notes = [counts + ("" if default is not None else ", no default vector")]
    if not vectors:
        notes = ["axis and capping settings alone, as asked"]
    values, cosines, note = orient_axis(folder, default, roles)
    notes.append(note)
    known = [layer for layer, vector in enumerate(values) if vector.any()]
    if len(known) < len(values):
        notes.append(f"the axis is zero at {len(values) - len(known)} layers, which are left out")
    name = folder.name if model is None else model
    reader = {
        "model": MODELS.get(name, name),
        "n_layers": len(values),
        "d_model": values.shape[1],
        **({"tokens": "paper"} if tokens == "paper" else {}),
    }
    axis = Direction("assistant", tuple(known), values[known], origin=Origin.of_card(reader))
    capping = None
    if (folder / "capping_config.pt").is_file():
        capping = read_capping_config(folder / "capping_config.pt", axis, operation=operation)
        notes += capping.notes()
    card = {
        "source": str(source) if is_repo_id(str(source)) else name,
        "revision": revision,
        "reader": reader,
        "hook_point": "blocks.{layer}.hook_resid_post",
        "pooling": "mean over reply tokens, as in the paper's release",
        "labels": "role vectors are means over the replies its judge scored fully in role",
        "notes": notes,
    }
    return Release(axis, cosines, tuple(notes), default, roles, traits, card, capping)


def read_axis(
    source: str | Path, *, model: str | None = None, revision: str | None = None
) -> Direction:
    """The Assistant Axis of a release, or of a file with nothing beside it; only that file is fetched.

    Without the vectors it was made from, nothing tells which way it points: it is taken to point to the
    Assistant, as the published ones do. `read_release` with all vectors finds out.

    Args:
        source: A file (`assistant_axis.pt`, `axis.pt`), a folder, or a repository on the hub.
        model: Subfolder, as for `read_release`.
        revision: Branch, tag or commit on the hub.

    Raises:
        SpaceError: No axis there, or a damaged file.

    Examples:
        >>> import tempfile, torch
        >>> file = Path(tempfile.mkdtemp()) / "assistant_axis.pt"
        >>> torch.save(torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.bfloat16), file)
        >>> read_axis(file).layers
        (0, 1)
    """
    path = Path(source).expanduser()
    if path.is_file():
        values = read_axis_file(path)
        known = [layer for layer, vector in enumerate(values) if vector.any()]
        return Direction("assistant", tuple(known), values[known])
    return read_release(source, model=model, revision=revision, vectors=False).axis


def _locate(source: str | Path, model: str | None, revision: str | None, *, vectors: bool) -> Path:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if not is_repo_id(str(source)):
            raise SpaceError(
                "no release there",
                expected="a folder, or a dataset on the hub such as lu-christina/assistant-axis-vectors",
                given=source,
            )
        if model is None and vectors:
            raise SpaceError(
                f"{source} holds several models",
                expected="model=, one of " + ", ".join(MODELS),
                remedy=f'read_release("{source}", model="qwen-3-32b")',
            )
        files = ["*.pt"] if vectors else [*AXIS_FILES, "capping_config.pt"]
        patterns = files if model is None else [f"{model}/{file}" for file in files]
        folder = hub_folder(str(source), repo_type="dataset", revision=revision, patterns=patterns)
    chosen = folder if model is None else folder / model
    if chosen.is_dir() and looks_like_release(chosen):
        return chosen
    models = sorted(entry.name for entry in folder.glob("*") if looks_like_release(entry))
    raise SpaceError(
        f"no release in {chosen}",
        expected="assistant_axis.pt, or default_vector.pt and role_vectors/",
        remedy=f"pass model=, one of {', '.join(models)}" if models else "check the folder",
    )
