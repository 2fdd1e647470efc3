"""`Comparison`: what two spaces have in common, as tidy frames that can be kept and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from persona_lens.errors import SpaceError
from persona_lens.frames import ResultKind

if TYPE_CHECKING:
    import plotly.graph_objects as go

_KIND = ResultKind(
    "comparison",
    card="comparison.json",
    frames=("frame", "similarity", "roles"),
    remedy="compare the spaces again",
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two spaces side by side; made by `compare`.

    Attributes:
        frame: One row a measure, kind and matched pair of layers: `depth` (relative, 0 to 1; the mean of the
            two), `layer_a`, `layer_b`, `kind` (`role` or `trait`), `measure` (a key of `MEASURES`), `component`
            and `partner` (of which space a and b, counted from one; not known for other measures), `value`,
            `low` and `high` (95 % over the units), `null_mean`, `null_95`, `p` (one-sided, against the null) and
            `n` (shared units; for directions the roles that either space has).
        similarity: Representational similarity of every layer of the one with every layer of the other:
            `layer_a`, `layer_b`, `kind`, `value`, `null_95`.
        roles: Place of every shared role and trait on both axes: `depth`, `layer_a`, `layer_b`, `kind`, `name`,
            `group`, `projection_a`, `projection_b` (of roles in the units of the residual stream, of traits
            cosines), `z_a`, `z_b` (in standard deviations of the shared units).
        card: Names of the two, what they share, what is left out, how layers were matched, and what each measure
            and its null is.
    """

    frame: pd.DataFrame
    similarity: pd.DataFrame
    roles: pd.DataFrame
    card: Mapping[str, Any]

    def at(self, depth: float) -> pd.DataFrame:
        """The rows of `frame` of the matched pair of layers nearest to a relative depth."""
        return _nearest(self.frame, depth)

    def plot(
        self, *, components: int = 3, title: str | None = None, source: str | None = None
    ) -> go.Figure:
        """Every measure by depth, a panel each; more is said at `persona_lens.plots.comparison_panels`.

        Args:
            components: How many of the first components are drawn.
            title: Replaces the title.
            source: What was compared, for the line below the title; told by the card by default.
        """
        from persona_lens.plots import comparison_panels  # noqa: PLC0415

        source = self._source() if source is None else source
        return comparison_panels(self.frame, components=components, title=title, source=source)

    def scatter(
        self,
        *,
        depth: float = 0.5,
        kind: str = "role",
        names: tuple[str, str] | None = None,
        correlation: tuple[float, float, float] | None = None,
        title: str | None = None,
        source: str | None = None,
    ) -> go.Figure:
        """The roles on both axes at one depth; more is said at `persona_lens.plots.comparison_scatter`.

        Args:
            depth: Relative depth, 0 to 1; the nearest matched pair of layers is drawn.
            kind: `role` or `trait`.
            names: What to call the two spaces; as the card does by default.
            correlation: Rank correlation with its interval, for the title; that of the comparison by default.
            title: Replaces the title.
            source: What was compared, for the line below the title; told by the card by default.

        Raises:
            SpaceError: Units of that kind were not compared.
        """
        of_kind = self.roles.loc[self.roles["kind"] == kind]
        if of_kind.empty:
            raise SpaceError(
                "nothing of that kind was compared",
                expected=" or ".join(self.roles["kind"].unique()),
                given=kind,
            )
        from persona_lens.plots import comparison_scatter  # noqa: PLC0415

        ranks = self.at(depth).query("measure == 'axis_ranks' and kind == @kind").iloc[0]
        return comparison_scatter(
            _nearest(of_kind, depth),
            names=names or (f"a: {self.card['a']}", f"b: {self.card['b']}"),
            correlation=correlation or (ranks["value"], ranks["low"], ranks["high"]),
            title=title,
            source=self._source() if source is None else source,
        )

    def save(self, folder: str | Path) -> Path:
        """Write three Parquet files and `comparison.json`, which comes last."""
        frames = {name: getattr(self, name) for name in _KIND.frames}
        return _KIND.save(folder, self.card, frames=frames)

    @classmethod
    def load(cls, folder: str | Path) -> Comparison:
        """Read what `save` wrote.

        Raises:
            SpaceError: The folder holds no comparison, or one of another format.
        """
        kept = _KIND.load(folder)
        return cls(**kept.frames, card=kept.card)

    def _source(self) -> str:
        replies = f"{self.card['replies_a']:,} and {self.card['replies_b']:,} replies"
        return f"a: {self.card['a']} · b: {self.card['b']} · {replies}"

    def __repr__(self) -> str:
        shared = ", ".join(f"{count} {kind}s" for kind, count in self.card["shared"].items())
        pairs = self.frame["depth"].nunique()
        return f"Comparison({self.card['a']} with {self.card['b']}: {shared}, {pairs} depths)"

    def _repr_html_(self) -> str:
        rows = self.at(0.5)
        cells = [
            (
                row["kind"],
                row["measure"] + (f" {row['component']}" if pd.notna(row["component"]) else ""),
                f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
                f"{row['null_95']:.2f}",
                row["n"],
            )
            for row in rows.to_dict("records")
        ]
        head = ("kind", "measure", "value, 95 % interval", "null 95 %", "n")
        table = "".join(
            "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in line) + "</tr>"
            for tag, line in (("th", head), *(("td", line) for line in cells))
        )
        where = f"layers {rows['layer_a'].iloc[0]} and {rows['layer_b'].iloc[0]}, in the middle"
        return f"<div><strong>{escape(repr(self))}</strong><div>{where}</div><table>{table}</table></div>"


def _nearest(frame: pd.DataFrame, depth: float) -> pd.DataFrame:
    nearest = frame["depth"].iloc[(frame["depth"] - depth).abs().argmin()]
    return frame.loc[frame["depth"] == nearest].reset_index(drop=True)
