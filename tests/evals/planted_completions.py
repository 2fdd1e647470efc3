"""Replies of a completions evaluation, written into a frame: texts and labels at known rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from persona_lens.catalog.prefills import LabelledCompletion, load_prefills
from persona_lens.embedding import MiniLM
from persona_lens.evals.conditions import UNTOUCHED, Condition
from persona_lens.evals.items import Item
from persona_lens.evals.outcomes import Answer

STRENGTHS = (-0.2, 0.2)


class Remembering:
    """The packaged embedder, which embeds a text once for all tests."""

    texts_per_call = 256

    def __init__(self) -> None:
        self.embedder = MiniLM(quiet=True)
        self.name = self.embedder.name
        self.known: dict[str, np.ndarray] = {}

    def fingerprint(self) -> str:
        return self.embedder.fingerprint()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known.update(zip(new, self.embedder(new), strict=True))
        return np.stack([self.known[text] for text in texts])


def conditions(controls: int = 2) -> list[Condition]:
    """No plan, a direction, and its controls, without the plans."""
    series = [
        ("assistant", "plan", ""),
        *((f"random {n}", "control", "assistant") for n in range(controls)),
    ]
    return [
        UNTOUCHED,
        *(
            Condition(f"{name} {at:+g}", None, kind, at, name, of)  # pyright: ignore[reportArgumentType]
            for name, kind, of in series
            for at in STRENGTHS
        ),
    ]


def frame(
    rates: Mapping[str, Mapping[str, float]],
    *,
    family: str = "purpose",
    prefills: int = 8,
    samples: int = 40,
    spread: float = 0.0,
    controls: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """Labels drawn at given rates.

    Args:
        rates: Of each label, by condition; "" stands for every condition that is not named.
        family: Of the prefills.
        prefills: How many.
        samples: Completions of each under each condition.
        spread: By how much the rates of prefills differ, as the standard deviation of their log-odds.
        controls: Random directions.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    labels = list(dict.fromkeys(label for some in rates.values() for label in some))
    chosen = load_prefills(family)[:prefills]
    tilts = (
        rng.normal(0, spread, size=(len(chosen), len(labels)))
        if spread
        else np.zeros((len(chosen), len(labels)))
    )
    rows = []
    for condition in conditions(controls):
        wanted = rates.get(condition.name, rates[""])
        for prefill, tilt in zip(chosen, tilts, strict=True):
            odds = np.array([wanted.get(label, 0.0) for label in labels]) * np.exp(tilt)
            for sample, label in enumerate(rng.choice(labels, size=samples, p=odds / odds.sum())):
                rows.append(
                    {
                        "item": prefill.id,
                        "cluster": prefill.id,
                        "family": family,
                        "sample": sample,
                        "judge": "category",
                        "label": str(label),
                        "condition": condition.name,
                        **condition.about(),
                    }
                )
    return pd.DataFrame(rows)


def answers(texts: Sequence[LabelledCompletion]) -> list[Answer]:
    """Hand-labelled completions as answers of a model."""
    return [
        Answer(Item(each.prefill, prefill="x", about={"family": each.family}), " " + each.text)
        for each in texts
    ]
