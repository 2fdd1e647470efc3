"""What is said of a reply beside its text: where it lies, what the plan did, whether its conversation drifts.

    {"index": 0,
     "projection": {"before": {"mean": 5.9, "low": 4.7, "high": 7.1, "z": -0.2, "tokens": 30},
                    "after": {...}, "clean": null},
     "tokens": {"run": 61, "seen": 58, "moved": 21, "engaged": 0.24, "change": 0.05},
     "receipt": [{"step": "floor 'assistant'; at layers 21-26; ...", "seen": 348, "moved": 84, ...}],
     "nearest": null, "monitor": null, "conversation": null}

`seen` counts the tokens of prompt and reply that the plan was to touch; `moved` those that it moved at the layer
where it moved most; `engaged` is the share of all tokens and layers it was to touch that it moved, and `change` by
how much of the residual norm on average, those not moved left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persona_lens.interventions.receipt import Receipt
from persona_lens.model.continuous import Finished, Projected

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float

    from persona_lens.server.jobs import Job, Wish
    from persona_lens.server.readings import CleanReading, ReplyReader
    from persona_lens.transcripts import Transcript


def summary(
    wish: Wish,
    job: Job,
    finished: Finished,
    *,
    whole: Transcript,
    reader: ReplyReader,
    clean: CleanReading | None,
) -> dict[str, Any]:
    """Of one reply.

    Args:
        wish: What was wanted.
        job: Of the request.
        finished: What came.
        whole: Prompt and reply.
        reader: Places it.
        clean: The conversation read again; None where that was not done.
    """
    counted = reader.answers(wish.request.prompt, whole)
    projection: dict[str, Any] = {"before": None, "after": None, "clean": None}
    if finished.before is not None and finished.after is not None:
        projection["before"] = reader.place(counted, finished.before)
        projection["after"] = reader.place(counted, finished.after)
    if clean is not None:
        projection["clean"] = {
            name: value for name, value in clean.last.items() if name not in ("turn", "nearest")
        }
    told = {
        "index": wish.choice,
        "projection": projection,
        **done(finished.receipt, len(whole)),
        "monitor": None if clean is None else _warned(clean.verdict, job),
        "nearest": None if clean is None else clean.last["nearest"],
        "conversation": None if clean is None else {"reading": "clean", "turns": clean.turns},
    }
    if job.persona.projections and finished.before is not None and finished.after is not None:
        run = counted[: len(finished.before)]
        told["projections"] = {
            "counted": [bool(each) for each in run],
            "before": reader.values(finished.before).tolist(),
            "after": reader.values(finished.after).tolist(),
            "clean": None if clean is None else by_token(run, clean.tokens),
        }
    return told


def by_token(
    counted: Bool[np.ndarray, " token"], values: Float[np.ndarray, " answer"]
) -> list[float | None]:
    """Values of the tokens that count, each in its place.

    Examples:
        >>> import numpy as np
        >>> by_token(np.array([False, True, True]), np.array([0.5, 2.0]))
        [None, 0.5, 2.0]
    """
    left = iter(values.tolist())
    return [next(left, None) if counts else None for counts in counted]


def done(receipt: Receipt | None, length: int) -> dict[str, Any]:
    """What a plan did, by its receipt.

    Args:
        receipt: None without a plan.
        length: Tokens of prompt and reply.
    """
    nothing = {"run": length, "seen": 0, "moved": 0, "engaged": 0.0, "change": 0.0}
    if receipt is None:
        return {"tokens": nothing, "receipt": []}
    frame = receipt.frame()
    steps = []
    for number, step in enumerate(receipt.plan.steps, 1):
        rows = frame[frame["step"] == number]
        changed = int(rows["changed"].sum())
        change = float((rows["mean_change"] * rows["changed"]).sum())
        steps.append(
            {
                "step": str(step),
                "seen": int(rows["seen"].sum()),
                "not_finite": int(rows["not_finite"].sum()),
                "moved": changed,
                "change": change / changed if changed else 0.0,
                "largest": float(rows["max_change"].max()) if len(rows) else 0.0,
            }
        )
    sound = int((frame["seen"] - frame["not_finite"]).sum())
    moved = int(frame["changed"].sum())
    change = float((frame["mean_change"] * frame["changed"]).sum())
    return {
        "tokens": {
            **nothing,
            "seen": int(frame["seen"].max()) if len(frame) else 0,
            "moved": int(frame["changed"].max()) if len(frame) else 0,
            "engaged": moved / sound if sound else 0.0,
            "change": change / moved if moved else 0.0,
        },
        "receipt": steps,
    }


def token_readings(
    projected: tuple[Projected, ...], reader: ReplyReader
) -> list[dict[str, float | int]]:
    """Of single tokens, for chunks of a stream."""

    def value(projections: np.ndarray) -> float:
        return float(reader.values(projections[None])[0])

    return [
        {"index": each.index, "before": value(each.before), "after": value(each.after)}
        for each in projected
    ]


def _warned(verdict: dict[str, Any] | None, job: Job) -> dict[str, Any] | None:
    """What the monitor says; its rate is that of replies that nothing acted on."""
    if verdict is None or job.chosen.plan is None:
        return verdict
    caution = (
        "the false-alarm rate was set on replies without a plan, and this one was written under one"
    )
    return {**verdict, "caution": caution}
