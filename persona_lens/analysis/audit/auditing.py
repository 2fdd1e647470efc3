"""Can the judges of a run be trusted, and does it matter which of them is?

    audit = audit_run(RunFolder("runs/first"), labelled="hand.csv")
    rich.print(audit)
    audit.save("audit")       # every number as CSV, and the figures

Three questions, each of which the next one does not answer: do judges agree with each other, do they agree with a
person, and do axis and map change when another judge chooses the replies?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from persona_lens.analysis.audit.agreement import Agreement, agreement
from persona_lens.analysis.audit.hand_agreement import HandAgreement, hand_agreement
from persona_lens.analysis.audit.hand_labels import read_labelled
from persona_lens.analysis.audit.judge_effect import judge_effect
from persona_lens.analysis.audit.tables import agreement_tables, effect_tables, hand_tables
from persona_lens.analysis.audit.verdicts import judge_titles, judges_of, verdict_frame
from persona_lens.files import whole_or_nothing
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.vectors import MIN_COUNT

if TYPE_CHECKING:
    import plotly.graph_objects as go

EFFECT_RESAMPLES = 200
"""At most so many bootstrap samples of the spaces, each of which takes an axis and a PCA of every layer."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What is known of the judges of a run.

    Attributes:
        judges: Their keys.
        agreements: Of every two judges.
        effect: Of the choice of judge on axis and map, see `judge_effect`; None if the run has no activations.
        hand: Agreement of each judge with a person; empty without a labelled sheet.
        card: `run`, `model`, `hook_point`.
    """

    judges: tuple[str, ...]
    agreements: tuple[Agreement, ...]
    effect: pd.DataFrame | None
    hand: tuple[HandAgreement, ...]
    card: Mapping[str, Any]

    def frames(self) -> dict[str, pd.DataFrame]:
        """Every number, as tidy frames by the names of their files."""
        found: dict[str, list[pd.DataFrame]] = {
            "agreement": [each.frame() for each in self.agreements]
        }
        for each in self.agreements:
            if each.roles is not None:
                pair = {"first": each.first, "second": each.second}
                found.setdefault("confusion", []).append(_long(each.roles.confusion, pair))
                found.setdefault("by-role", []).append(_tagged(each.roles.by_role, pair))
                found.setdefault("dropped", []).append(_tagged(each.roles.dropped, pair))
        for each in self.hand:
            pair = {"first": "person", "second": each.judge}
            found.setdefault("person", []).append(each.frame())
            found.setdefault("person-confusion", []).append(_long(each.confusion, pair))
        if self.effect is not None:
            found["effect"] = [self.effect]
        return {name: pd.concat(parts, ignore_index=True) for name, parts in found.items() if parts}

    def save(self, folder: str | Path) -> list[Path]:
        """Write `frames` as CSV files, and the figures as pages, and as pictures too if a browser is found.

        Returns:
            The files written.
        """
        from persona_lens.analysis.audit.figures import judge_audit_figures  # noqa: PLC0415
        from persona_lens.plots.export import save_figures  # noqa: PLC0415

        folder = Path(folder)
        written = []
        for name, frame in self.frames().items():
            with whole_or_nothing(folder / f"{name}.csv") as partial:
                frame.to_csv(partial, index=False)
            written.append(folder / f"{name}.csv")
        drawn: dict[str | Path, go.Figure] = {
            folder / name: fig for name, fig in judge_audit_figures(self).items()
        }
        return written + save_figures(drawn)

    def __rich__(self) -> RenderableType:
        """Tables for the terminal."""
        names = judge_titles(self.judges)
        shown: list[RenderableType] = []
        for each in self.agreements:
            shown += agreement_tables(each, names)
        if self.hand:
            shown += hand_tables(self.hand, names)
        if self.effect is not None:
            shown += effect_tables(self.effect, names)
        return Group(*shown) if shown else Text("One judge alone has nothing to be compared with.")


def audit_run(
    run: RunFolder,
    judges: Sequence[str] | None = None,
    *,
    labelled: str | Path | None = None,
    layers: Sequence[int] | None = None,
    min_count: int = MIN_COUNT,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Audit:
    """Compare the judges of a run with each other, with a person, and by what they make of the axis.

    Args:
        run: A labelled run. Without activations, there is no effect on the axis.
        judges: Keys of judges, or beginnings of them; all that have labelled the run by default.
        labelled: The sheet that `export_sample` wrote and a person has labelled.
        layers: Blocks at which axes are compared; by default up to eight, evenly spaced.
        min_count: Replies a label needs for a vector.
        n_resamples: Bootstrap samples; at most 200 of them for the effect.
        seed: Of all that is random.

    Raises:
        RunError: No judge has labelled the run, one has not finished, or the sheet cannot be read.
    """
    frame = verdict_frame(run, judges)
    keys = judges_of(frame)
    manifest = run.manifest()
    writer = manifest.conditions.get("model") or manifest.conditions["server"]
    hand: list[HandAgreement] = []
    if labelled is not None:
        sheet = read_labelled(run, labelled)
        hand = hand_agreement(sheet, frame, n_resamples=n_resamples, seed=seed)
    effect = None
    if manifest.layers:
        effect = judge_effect(
            run,
            keys,
            layers=layers,
            min_count=min_count,
            n_resamples=min(n_resamples, EFFECT_RESAMPLES),
            seed=seed,
        )
    return Audit(
        judges=tuple(keys),
        agreements=tuple(
            agreement(frame, *pair, n_resamples=n_resamples, seed=seed)
            for pair in combinations(keys, 2)
        ),
        effect=effect,
        hand=tuple(hand),
        card={
            "run": str(run.path),
            "model": writer["model"],
            "hook_point": "blocks.{layer}.hook_resid_post",
        },
    )


def _tagged(frame: pd.DataFrame, pair: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame({**{name: [key] * len(frame) for name, key in pair.items()}, **frame})


def _long(confusion: pd.DataFrame, pair: Mapping[str, str]) -> pd.DataFrame:
    """A confusion table as one row a cell."""
    rows = [
        {**pair, "label_first": row, "label_second": column, "replies": confusion.loc[row, column]}
        for row in confusion.index
        for column in confusion.columns
    ]
    return pd.DataFrame(rows)
