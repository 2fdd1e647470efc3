"""Role vectors at a few layers under several judges at once, in one pass over the run.

    default, sides = read_role_means(RunFolder("runs/first"), ["rules"], layers=[20])
    [side.judge for side in sides]      # ['no judge', 'rules-e73a5e0f']

With each judge come vectors of its labels dealt out at random among the replies of each role: what becomes of
them if the judge says as often "fully" and "somewhat" of a role as it does, but not of which replies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.errors import RunError
from persona_lens.judges.base import LABELS
from persona_lens.rollouts.plan import Shard
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import Labels
from persona_lens.runs.store.open_run import OpenRun
from persona_lens.runs.vectors import LABEL_FULLY, LABEL_SOMEWHAT, MIN_COUNT

NO_JUDGE = "no judge"
N_DRAWS, MIN_DRAWS = 40, 5
MAX_DRAW_BYTES = 2 * 2**30
_KEPT = (LABELS.index(LABEL_FULLY), LABELS.index(LABEL_SOMEWHAT))


@dataclass(frozen=True, eq=False)
class RoleMeans:
    """The role vectors that one judge leads to; without a judge, the means over all replies.

    Attributes:
        judge: Its key, or "no judge".
        values: Means over the replies of a role with one label, in the order of the roles.
        dealt: The same in every draw in which the labels are dealt out at random; none without a judge.
        role: Number of the role behind each vector, as the run has them in order.
        on_axis: Which vectors the axis is made of: fully in role, or not judged.
        counts: Replies behind each vector.
    """

    judge: str
    values: Float[np.ndarray, "vector layer d_model"]
    dealt: Float[np.ndarray, "draw vector layer d_model"]
    role: Int[np.ndarray, " vector"]
    on_axis: Bool[np.ndarray, " vector"]
    counts: Int[np.ndarray, " vector"]


def read_role_means(
    run: RunFolder,
    judges: Sequence[str],
    *,
    layers: Sequence[int],
    min_count: int = MIN_COUNT,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> tuple[Float[np.ndarray, "layer d_model"], list[RoleMeans]]:
    """The default vector, and the role vectors without a judge and with each.

    They are those of `vector_table`; empty replies are left out, and labels with too few replies.

    Args:
        run: A finished run, labelled by the judges.
        judges: Keys of judges, or beginnings of them.
        layers: Blocks.
        min_count: Replies a label needs for a vector.
        n_draws: Draws of dealt labels; fewer, but at least five, where they would take more than 2 GiB.
        seed: Of the draws.

    Raises:
        RunError: The run does not cover a layer, is not finished, or is not labelled.
    """
    opened = run.opened()
    manifest = opened.manifest
    unknown = sorted(set(layers) - set(manifest.layers))
    if unknown or not layers:
        where = f" at layer {unknown[0]}" if unknown else ""
        raise RunError(
            f"the run in {run.path} has no activations{where}",
            expected=", ".join(map(str, manifest.layers)) or None,
            remedy=None if manifest.layers else "collect it again with a reader",
        )
    replies = _Replies(opened, [manifest.layers.index(layer) for layer in layers])
    labels = [Labels.find(opened, judge) for judge in judges]
    shards_of: dict[str, list[Shard]] = {}
    for shard in opened.shards:
        if shard.kind == "role":
            shards_of.setdefault(shard.name, []).append(shard)
    one_draw = 2 * len(shards_of) * len(labels) * len(layers) * int(manifest.reader["d_model"]) * 4
    affordable = max(MIN_DRAWS, MAX_DRAW_BYTES // max(one_draw, 1))
    sides = [
        _Collector(NO_JUDGE, 0, 1),
        *(_Collector(found.key, min(n_draws, affordable), min_count) for found in labels),
    ]
    rng = np.random.default_rng(seed)
    for role, shards in enumerate(shards_of.values()):
        means, spoken = replies.read(shards)
        everything = np.full(len(means), _KEPT[0])  # as if all of them were fully in role
        codes = [everything, *(_codes(found, shards)[spoken] for found in labels)]
        for side, its_codes in zip(sides, codes, strict=True):
            side.add(role, means, its_codes, rng)
    return replies.default(), [side.means() for side in sides]


@dataclass(frozen=True)
class _Replies:
    """Reads the means of replies at some of a run's layers."""

    run: OpenRun
    places: list[int]

    def read(
        self, shards: Sequence[Shard]
    ) -> tuple[Float[np.ndarray, "spoken layer d_model"], Bool[np.ndarray, " reply"]]:
        """The means of replies that are not empty, and which replies those are."""
        means = np.concatenate(
            [self.run.read_activations(shard)[:, self.places] for shard in shards]
        )
        spoken = np.asarray(np.isfinite(means).any(axis=(1, 2)))
        if not np.isfinite(means[spoken]).all():
            raise RunError(
                f"a mean residual of {shards[0].kind} {shards[0].name!r} is not finite",
                remedy="collect with dtype float32 or bfloat16: the residual stream overflows in float16",
            )
        return means[spoken], spoken

    def default(self) -> Float[np.ndarray, "layer d_model"]:
        """The mean over all replies of the default Assistant."""
        total = np.zeros((len(self.places), int(self.run.manifest.reader["d_model"])))
        count = 0
        for shard in self.run.shards:
            if shard.kind == "default":
                means, _ = self.read([shard])
                total += means.sum(axis=0, dtype=np.float64)
                count += len(means)
        if count == 0:
            raise RunError(
                "the default Assistant has no reply with any text",
                remedy="look at its replies, change its prompts, and collect again",
            )
        return total / count


class _Collector:
    """Collects the vectors of one judge, role by role."""

    def __init__(self, judge: str, n_draws: int, min_count: int) -> None:
        self.judge, self.n_draws, self.min_count = judge, n_draws, min_count
        self._rows: list[tuple[int, bool, int]] = []
        self._values: list[np.ndarray] = []
        self._shape: tuple[int, int] = (0, 0)

    def add(
        self,
        role: int,
        means: Float[np.ndarray, "reply layer d_model"],
        codes: Int[np.ndarray, " reply"],
        rng: np.random.Generator,
    ) -> None:
        """Add the vectors of a role, given the place of each reply's label in `LABELS`."""
        self._shape = means.shape[1:]
        dealt = rng.permuted(np.tile(codes, (self.n_draws, 1)), axis=1)
        arrangements = np.concatenate([codes[None], dealt])
        for label in _KEPT:
            count = int((codes == label).sum())
            if count >= self.min_count:
                chosen = (arrangements == label).astype(np.float32) / count
                vectors = chosen @ means.reshape(len(means), -1)
                self._values.append(vectors.reshape(-1, *self._shape))
                self._rows.append((role, label == _KEPT[0], count))

    def means(self) -> RoleMeans:
        """What was collected."""
        found = np.stack(self._values, axis=1) if self._values else self._nothing()
        role, on_axis, counts = np.array(self._rows, dtype=np.int64).reshape(-1, 3).T
        return RoleMeans(self.judge, found[0], found[1:], role, on_axis.astype(bool), counts)

    def _nothing(self) -> Float[np.ndarray, "arrangement 0 layer d_model"]:
        return np.empty((1 + self.n_draws, 0, *self._shape), dtype=np.float32)


def _codes(labels: Labels, shards: Sequence[Shard]) -> Int[np.ndarray, " reply"]:
    """Place of each reply's label in `LABELS`; -1 where there is none."""
    verdicts = [verdict for shard in shards for verdict in labels.read(shard)]
    return np.array([-1 if v.label is None else LABELS.index(v.label) for v in verdicts])
