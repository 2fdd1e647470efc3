"""`Sweep`: what every layer of a space says, with intervals and nulls, in tidy frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from persona_lens.analysis.sweep.emergence import emergence, emergence_by_kind
from persona_lens.analysis.sweep.mean_emergence import emergence_of_mean
from persona_lens.errors import SpaceError
from persona_lens.frames import ResultKind

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from persona_lens.plots.parts.metric_words import Words
    from persona_lens.separability import Separability

_KIND = ResultKind("sweep", card="sweep.json", frames=("sweep", "units"))
COLUMNS = (
    "layer",
    "metric",
    "kind",
    "value",
    "low",
    "high",
    "null",
    "null_mean",
    "null_95",
    "n",
)
UNIT_COLUMNS = ("kind", "name", "metric", "layer", "value")


@dataclass(frozen=True, eq=False)
class Sweep:
    """Every metric at every layer.

    Attributes:
        frame: One row a layer, metric, kind and null: layer, metric, kind (`role`, `trait`, `role-trait`), value,
            low and high (95 % interval), null (in words), null_mean, null_95 (95th percentile), n (units).
        units: Curves of single roles and traits, where a metric has them: kind, name, metric, layer, value.
        card: Model, layers, metrics, what was left out and why, draws, seed, version.
        separability: Scores of single replies, behind `emergence`; None for a space without them.

    Examples:
        >>> frame = pd.DataFrame([[0, "auc", "role", 0.9, 0.8, 1.0, "shuffled labels", 0.5, 0.6, 9]],
        ...                      columns=list(COLUMNS))
        >>> Sweep(frame, pd.DataFrame(columns=list(UNIT_COLUMNS)))
        Sweep(1 metric, layers 0 to 0)
    """

    frame: pd.DataFrame
    units: pd.DataFrame
    card: Mapping[str, Any] = field(default_factory=dict)
    separability: Separability | None = None

    def emergence(
        self, metric: str = "identity", threshold: float = 0.5, n_draws: int = 200, seed: int = 0
    ) -> pd.DataFrame:
        """At which depth each role and trait becomes known.

        The depth is the first at which a unit's curve, less chance, passes `threshold` of its own maximum, linear
        between layers. It is NaN for a unit that does not beat shuffled labels at its best layer (q below 0.05).

        Args:
            metric: Of single replies.
            threshold: Share of the maximum.
            n_draws: Bootstrap samples of the question folds.
            seed: Of the samples.

        Returns:
            kind, name, depth (in layers), low, high (95 %, over question folds; NaN if there is but one),
            relative (depth over the last layer, 0 to 1), p (permutation, largest over layers), q (false discovery
            rate over the units of the kind), folds (how many question folds there are).

        Raises:
            SpaceError: No such scores, or no shuffled ones.
        """
        found = self._scores()
        return emergence(found, metric, threshold=threshold, n_draws=n_draws, seed=seed)

    def emergence_by_kind(
        self, metric: str = "identity", threshold: float = 0.5, n_draws: int = 200, seed: int = 0
    ) -> pd.DataFrame:
        """Which comes first, traits or roles: median depth of each kind, and roles minus traits.

        Args:
            metric: Of single replies.
            threshold: Share of the maximum.
            n_draws: Bootstrap samples, of units and question folds both.
            seed: Of the samples.

        Returns:
            kind (`role`, `trait`, `role minus trait`), depth (in layers), low, high (95 %), relative (depth over
            the last layer), n (units with a depth), p (of the difference, units exchanged between the kinds).

        Raises:
            SpaceError: No such scores, or no shuffled ones.
        """
        found = self._scores()
        return emergence_by_kind(found, metric, threshold=threshold, n_draws=n_draws, seed=seed)

    def emergence_of_mean(
        self, metric: str = "identity", threshold: float = 0.5, n_draws: int = 200, seed: int = 0
    ) -> pd.DataFrame:
        """Which comes first on average: the depth at which the mean curve of each kind passes half of its maximum.

        Of all units, those too that cannot be told from their null one by one; with few replies a unit most traits
        are of that sort.

        Args:
            metric: Of single replies.
            threshold: Share of the maximum, less chance.
            n_draws: Bootstrap samples, of units and question folds both; of `fisher` and `reliability`, which have
                no question folds, of units alone.
            seed: Of the samples.

        Returns:
            kind (`role`, `trait`, `role minus trait`), depth (in layers; NaN for a kind whose mean never beats
            shuffled labels, p above 0.05), low, high (95 %), relative (depth over the last layer), n (units), p
            (of the highest point of the mean curve against shuffled labels, at least 1 / (shuffles + 1)).

        Raises:
            SpaceError: No such scores, or no shuffled ones.
        """
        found = self._scores()
        return emergence_of_mean(found, metric, threshold=threshold, n_draws=n_draws, seed=seed)

    def compare_with(self, others: Mapping[str, Sweep], name: str | None = None) -> pd.DataFrame:
        """This sweep and others in one frame, with a column `model`.

        Args:
            others: By name, such as "random weights".
            name: Of this one; its model by default.

        Raises:
            SpaceError: Two sweeps of one name.
        """
        mine = name or str(self.card.get("model") or "this model")
        if mine in others:
            raise SpaceError("two sweeps have one name", given=mine, remedy="pass name=")
        frames = {mine: self.frame, **{other: entry.frame for other, entry in others.items()}}
        return pd.concat(
            [frame.assign(model=model) for model, frame in frames.items()], ignore_index=True
        )

    def plot(
        self,
        *,
        controls: Mapping[str, Sweep | pd.DataFrame] | None = None,
        metrics: Sequence[str] | None = None,
        words: Mapping[str, Words] | None = None,
        title: str | None = None,
        source: str | None = None,
    ) -> go.Figure:
        """Every metric against the layer; more is said at `persona_lens.plots.layer_sweep.layer_sweep`.

        Args:
            controls: Sweeps of other models, such as one with random weights, by what to call them.
            metrics: Which, in this order; all by default.
            words: Titles of metrics of your own, or that should be called otherwise.
            title: Replaces the title.
            source: Model and hook point, for the line below the title; those of the card by default.

        Raises:
            FigureError: There is no row, or a metric is not in the sweep.
        """
        from persona_lens.plots.layer_sweep import layer_sweep  # noqa: PLC0415

        hook_point = str(self.card.get("hook_point") or "").replace("{layer}", "*")
        place = [self.card.get("model"), hook_point]
        return layer_sweep(
            self.frame,
            controls={
                name: entry.frame if isinstance(entry, Sweep) else entry
                for name, entry in (controls or {}).items()
            },
            metrics=metrics,
            words=words,
            title=title,
            source=", ".join(str(part) for part in place if part) if source is None else source,
        )

    def save(self, folder: str | Path) -> Path:
        """Write `sweep.parquet`, `units.parquet`, `sweep.json`, and the scores of replies beside them."""
        folder = Path(folder)
        _KIND.forget(folder)
        if self.separability is not None:
            self.separability.save(folder / "separability")
        card = {**self.card, "separability": self.separability is not None}
        return _KIND.save(folder, card, frames={"sweep": self.frame, "units": self.units})

    @classmethod
    def load(cls, folder: str | Path) -> Sweep:
        """Read what `save` wrote.

        Raises:
            SpaceError: No sweep in that folder.
        """
        kept = _KIND.load(folder)
        separability = None
        if kept.card.pop("separability"):
            from persona_lens.separability import Separability  # noqa: PLC0415

            separability = Separability.load(Path(folder) / "separability")
        return cls(
            frame=kept.frames["sweep"],
            units=kept.frames["units"],
            card=kept.card,
            separability=separability,
        )

    def _scores(self) -> Separability:
        if self.separability is None:
            why = sorted(set(self.card.get("left_out", {}).values()))
            raise SpaceError(
                "this sweep has no scores of single replies",
                given="; ".join(why) or None,
                remedy="sweep a space that has its run beside it, with metrics of replies among those asked for",
            )
        return self.separability

    def __repr__(self) -> str:
        layers = self.frame["layer"]
        n = self.frame["metric"].nunique()
        span = f"layers {layers.min()} to {layers.max()}" if n else "empty"
        return f"Sweep({n} metric{'' if n == 1 else 's'}, {span})"

    def _repr_html_(self) -> str:
        from persona_lens.analysis.sweep.html import sweep_html  # noqa: PLC0415

        return sweep_html(self)
