"""`Reconstruction`: how well few traits rebuild roles, beside controls, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from persona_lens.analysis.composition.dictionaries import MATCHED, TRAITS, Dictionary
from persona_lens.errors import SpaceError
from persona_lens.frames import ResultKind
from persona_lens.statistics import draw_counts, fdr, interval_of, permutation_p

if TYPE_CHECKING:
    import plotly.graph_objects as go

Measure = Literal["share", "r2"]

_KIND = ResultKind("reconstruction", card="card.json", frames=("frame", "roles"))
N_FLIPS = 999
_PARTS = {"share": ("along", "repeats", 1.0), "r2": ("error", "norm", -1.0)}
"""Columns of each measure that are summed, above and below the line, and the sign of the first."""
_CELL = ["layer", "held_out", "method"]


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """How much of held-out role vectors k atoms of a dictionary explain, in two measures.

    With x a centred role vector from one half of the questions, x̂ its approximation and y the role's vector from
    the other half, summed over roles (and halves, and draws of a control):

        R²    = 1 - sum |y - x̂|² / sum |y|²        of everything, noise too
        share =     sum <x̂, y> / sum <x, y>        of what repeats from one half to the other

    R² is negative where x̂ is further from y than the mean role is. With few replies most of a role vector is
    noise; then weights fitted to one half are mostly noise as well, and whatever explains less loses less. The
    share does not suffer from this: noise of one half is not along the other. It is the one to compare
    dictionaries by.

    Attributes:
        frame: `layer`, `k`, `method`, `dictionary`, `held_out` ("questions" or "roles"), `r2`, `low`, `high`
            (95 %, bootstrap over roles and halves), `share`, `share_low`, `share_high`, `n` roles; `ceiling`, the
            R² of x itself, which an approximation that averages noise away can pass; `signal`,
            sum <x, y> / sum |y|², the R² of a role vector without noise, which nothing passes but by chance.
        roles: One row a role besides: `role`; `error` |y - x̂|², `along` <x̂, y>, `norm` |y|², `repeats` <x, y>,
            means over halves and draws; `r2`.
        card: How it was measured.

    Source: of the share, cross-validated PCA (Stringer et al. 2019, doi:10.1038/s41586-019-1346-5).
    """

    frame: pd.DataFrame
    roles: pd.DataFrame
    card: Mapping[str, Any] = field(default_factory=dict)

    def gain(
        self,
        over: Dictionary = MATCHED,
        *,
        measure: Measure = "share",
        n_draws: int = 200,
        seed: int = 0,
    ) -> pd.DataFrame:
        """What traits explain minus what a control does, of the same roles.

        Args:
            over: The control; matched random directions are the one that counts.
            measure: `share` or `r2`.
            n_draws: Bootstrap samples of the roles.
            seed: Of these and of the exchanges.

        Returns:
            `layer`, `held_out`, `method`, `k`, `gain`, `low`, `high`, `p` (two-sided: traits and control exchanged
            at random within each role), `n`, `q` (false discovery rate over the layers).

        Raises:
            SpaceError: There is no such control or measure.
        """
        if over == TRAITS or over not in set(self.roles["dictionary"]):
            others = sorted(set(self.roles["dictionary"]) - {TRAITS})
            raise SpaceError("no such control", expected=" or ".join(others), given=over)
        if measure not in _PARTS:
            raise SpaceError("no such measure", expected=" or ".join(_PARTS), given=measure)
        part, whole, sign = _PARTS[measure]
        rng = np.random.default_rng(seed)
        plain = self.roles.astype(dict.fromkeys(("held_out", "method", "role"), str))
        chosen = {
            name: plain.loc[plain["dictionary"] == name].set_index([*_CELL, "role", "k"])
            for name in (TRAITS, over)
        }
        paired = chosen[TRAITS].join(chosen[over][part].rename(f"{part}_control"), how="inner")
        rows = []
        for cell, some in paired.groupby(level=_CELL, sort=False):
            more = (sign * (some[part] - some[f"{part}_control"])).unstack("k")
            ks, difference = more.columns, more.to_numpy(dtype=np.float64)
            sizes = some[whole].unstack("k").to_numpy(dtype=np.float64)[:, 0]
            gains = difference.sum(axis=0) / sizes.sum()
            drawn = draw_counts(len(sizes), n_draws, rng)
            draws = (drawn @ difference) / (drawn @ sizes)[:, None]
            signs = rng.choice([-1.0, 1.0], size=(N_FLIPS, len(sizes)))
            p = permutation_p(gains, signs @ difference / sizes.sum(), "two-sided")
            for place, k in enumerate(ks):
                interval = interval_of(draws[:, place])
                rows.append((*cell, k, gains[place], *interval, p[place], len(sizes)))
        found = pd.DataFrame(rows, columns=[*_CELL, "k", "gain", "low", "high", "p", "n"])
        families = found.groupby(["held_out", "method", "k"])["p"]
        found["q"] = families.transform(lambda p: fdr(p.to_numpy()))
        return found

    def plot(
        self,
        *,
        layer: int | None = None,
        method: str = "omp",
        measure: Measure | None = None,
        title: str | None = None,
        source: str | None = None,
    ) -> go.Figure:
        """The curves; more is said at `persona_lens.plots.reconstruction_curves`.

        Args:
            layer: The only one drawn; with None and several layers there is a slider.
            method: `omp`, `nnls` or `lasso`.
            measure: `share` or `r2`.
            title: Replaces the title.
            source: The model, for the line below the title; that of the card by default.
        """
        from persona_lens.plots import reconstruction_curves  # noqa: PLC0415

        return reconstruction_curves(
            self.frame,
            layer=layer,
            method=method,
            measure=measure,
            title=title,
            source=str(self.card.get("model") or "") if source is None else source,
        )

    def save(self, folder: str | Path) -> Path:
        """Write `frame.parquet`, `roles.parquet` and `card.json`."""
        return _KIND.save(folder, self.card, frames={"frame": self.frame, "roles": self.roles})

    @classmethod
    def load(cls, folder: str | Path) -> Reconstruction:
        """Read what `save` wrote.

        Raises:
            SpaceError: Nothing of the kind in that folder.
        """
        kept = _KIND.load(folder)
        return cls(**kept.frames, card=kept.card)
