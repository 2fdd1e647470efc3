"""Tables of turns in which it is known what moves the model: the message, the last place, the speaker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def talk(
    *,
    personas: int = 20,
    conversations: int = 3,
    turns: int = 6,
    dim: int = 12,
    message: float = 1.0,
    memory: float = 0.0,
    noise: float = 1.0,
    persona_place: float = 0.0,
    persona_voice: float = 0.0,
    domains: Sequence[str] = (),
    simulators: Sequence[str] = (),
    noises: int = 0,
    seed: int = 0,
) -> tuple[pd.DataFrame, np.ndarray]:
    """A table and the embeddings of its messages.

    Args:
        message: Standard deviation of what the message moves.
        memory: Share of the last place that stays.
        noise: Standard deviation of what nobody knows.
        persona_place: Standard deviation of where a persona is, whatever is said.
        persona_voice: How much the messages of a persona have in common.
        noises: Further directions, of noise alone.
    """
    rng = np.random.default_rng(seed)
    towards = rng.normal(size=dim)
    towards *= np.sqrt(dim) / np.linalg.norm(towards)  # unit vectors along it have variance 1
    rows, vectors = [], []
    for persona in range(personas):
        place = persona_place * rng.normal()
        voice = persona_voice * rng.normal(size=dim)
        for number in range(conversations):
            at = 0.0
            for turn in range(turns):
                vector = rng.normal(size=dim) + voice
                vector /= np.linalg.norm(vector)
                at = memory * at + message * (vector @ towards) + place + noise * rng.normal()
                row = {
                    "conversation": f"p{persona}-{number}",
                    "turn": turn,
                    "message": " ".join(f"w{word}" for word in rng.integers(40, size=6)),
                    "persona": f"p{persona}",
                    "axis": at,
                }
                row |= {f"noise{n}": rng.normal() for n in range(noises)}
                if domains:
                    row["domain"] = domains[persona % len(domains)]
                if simulators:
                    row["simulator"] = simulators[number % len(simulators)]
                rows.append(row)
                vectors.append(vector)
    return pd.DataFrame(rows), np.array(vectors)
