"""Which messages pull the model along a direction: kinds of them, and single ones, by held-out forecasts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from persona_lens.drift.forecast.kinds import find_kinds, typical_words
from persona_lens.drift.forecast.scoring import Scorer

_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Explanation:
    """Kinds of messages and the single messages that pull hardest, along one direction.

    A *pull* is what the message alone forecasts, by a model that has seen no message of its fold, less the mean of
    that model's training rows: in units of the projection, positive towards the direction's own end (on the
    axis: the Assistant). `observed` is the same of the reply that came.

    Attributes:
        direction: Along which.
        target: "next" (where the reply is) or "change" (from the reply before).
        kinds: One row a kind: `kind` (its words), `pull` with `low` and `high` (95 %),
            `observed` with `observed_low` and `observed_high`, `n_messages`, `n_conversations`, `example_1` to
            `example_3` (those nearest to its middle). Strongest pull first.
        messages: Single messages, one row each: `conversation`, `turn`, `message`, `pull`, `observed`, `kind`; the
            hardest to the negative end first, then the hardest to the positive one last.
        choice: How many kinds there could be; see `persona_lens.drift.forecast.kinds.Kinds`.
        notes: How kinds were chosen, and what has to be kept in mind.
    """

    direction: str
    target: str
    kinds: pd.DataFrame
    messages: pd.DataFrame
    choice: pd.DataFrame
    notes: tuple[str, ...]


def explain(
    rows: pd.DataFrame,
    embeddings: Float[np.ndarray, "row dim"],
    pulls: Float[np.ndarray, " row"],
    observed: Float[np.ndarray, " row"],
    *,
    direction: str,
    target: str,
    k: int | None,
    n_messages: int,
    units: Int[np.ndarray, " row"],
    draws: int,
    seed: int,
    notes: tuple[str, ...] = (),
) -> Explanation:
    """Sort messages into kinds and tell how hard each pulls.

    Args:
        rows: `conversation`, `turn` and `message` of each row.
        embeddings: Unit vectors of the messages.
        pulls: Held-out forecast less the training mean.
        observed: What came, less the same.
        direction: Along which; for the record.
        target: "next" or "change"; for the record.
        k: How many kinds; None chooses.
        n_messages: Single messages at each end.
        units: Persona or conversation of each row, as numbers from 0: what intervals resample.
        draws: Bootstrap samples.
        seed: Of clusters and samples.
        notes: Put before those made here.
    """
    conversations = pd.factorize(rows["conversation"])[0]
    kinds = find_kinds(embeddings, conversations, k, seed)
    words = typical_words(rows["message"].tolist(), kinds.labels)
    both = np.stack([pulls, observed], axis=1)
    entries = []
    for kind, (name, centre) in enumerate(zip(words, kinds.centres, strict=True)):
        own = np.flatnonzero(kinds.labels == kind)
        nearest = own[np.argsort(-embeddings[own] @ centre, kind="stable")]
        examples = list(dict.fromkeys(rows["message"].iloc[nearest]))[:_EXAMPLES]
        examples += [""] * (_EXAMPLES - len(examples))
        entries.append(
            {
                "kind": name,
                **_means(both[own], conversations[own], units[own], draws, seed),
                **{f"example_{place}": text for place, text in enumerate(examples, start=1)},
            }
        )
    table = pd.DataFrame(entries).sort_values(
        "pull", key=np.abs, ascending=False, ignore_index=True
    )
    order = np.argsort(pulls, kind="stable")
    shown = min(n_messages, len(order) // 2)
    ends = np.concatenate([order[:shown], order[len(order) - shown :]])
    single = rows.iloc[ends][["conversation", "turn", "message"]].assign(
        pull=pulls[ends], observed=observed[ends], kind=[words[kinds.labels[row]] for row in ends]
    )
    return Explanation(
        direction,
        target,
        table,
        single.reset_index(drop=True),
        kinds.choice,
        (*notes, kinds.why),
    )


def _means(
    values: Float[np.ndarray, "row 2"],
    conversations: np.ndarray,
    units: np.ndarray,
    draws: int,
    seed: int,
) -> dict[str, float]:
    """Mean pull and mean observed, with intervals and counts."""
    units = pd.factorize(units)[0]
    low = high = np.full(2, np.nan)
    if units.max() > 0:  # of one persona nothing can be drawn
        scorer = Scorer(values, units, draws=draws, seed=seed)
        low, high = scorer.intervals(scorer.mean_draws(values))
    pull, observed = values.mean(axis=0)
    return {
        "pull": pull,
        "low": low[0],
        "high": high[0],
        "observed": observed,
        "observed_low": low[1],
        "observed_high": high[1],
        "n_messages": len(values),
        "n_conversations": len(np.unique(conversations)),
    }
