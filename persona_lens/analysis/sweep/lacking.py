"""What a space lacks for some metrics of a sweep, and what would mend it; what can be measured is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from persona_lens.analysis.sweep.registry import FOLD_METRICS, REPLY_METRICS
from persona_lens.errors import RunError, SpaceError
from persona_lens.separability import measure_run
from persona_lens.space import Space


@dataclass(frozen=True)
class Lack:
    """Why a metric cannot be had.

    Attributes:
        reason: In a line, for the card of a sweep.
        remedy: What to do next.
    """

    reason: str
    remedy: str


@dataclass(frozen=True)
class Lacking:
    """What stands in the way of metrics of single replies; nothing if `replies` is None."""

    replies: Lack | None

    def checked(self, space: Space, asked: Sequence[str], *, named: bool) -> Mapping[str, Lack]:
        """The metrics to leave out.

        Raises:
            SpaceError: They were asked for by name.
        """
        found = {}
        separability = space.separability_
        there = set() if separability is None else {metric for metric, _ in separability.scores}
        for name in asked:
            if name in REPLY_METRICS and name not in there:
                found[name] = self.replies or Lack(
                    "not among what was measured of its single replies",
                    "measure them again: space.measure_separability()",
                )
            if name in FOLD_METRICS and not has_folds(space):
                found[name] = _no_folds(space)
        if named and found:
            lacks = list(dict.fromkeys(found.values()))
            raise SpaceError(
                "this space cannot give " + ", ".join(found),
                given="; ".join(lack.reason for lack in lacks),
                remedy="; ".join(lack.remedy for lack in lacks) + "; or leave those metrics out",
            )
        return found


def has_folds(space: Space) -> bool:
    """Whether vectors from parts of the questions are known."""
    return space.table.folds is not None and space.table.folds.shape[1] > 1


def measured(space: Space, asked: Sequence[str], *, progress: bool) -> Lacking:
    """Measure single replies if a metric asks for them and they are at hand; or say why not."""
    if space.separability_ is not None or not set(asked) & set(REPLY_METRICS):
        return Lacking(None)
    if space.run is None:
        return Lacking(_no_run(space))
    try:
        run = space.calibrated_run()
        space.separability_ = measure_run(run, layers=space.layers_, progress=progress)
    except (RunError, SpaceError) as error:
        problem, *further = str(error).splitlines()
        said = " ".join([problem, *(f"({line.strip()})" for line in further[:1])])
        remedy = further[-1].strip() if len(further) > 1 else "collect the run anew"
        return Lacking(Lack(said, remedy))
    return Lacking(None)


def _no_run(space: Space) -> Lack:
    if space.table.card.get("reader_key") is None:
        return Lack(
            "single replies are needed, and this space was made from vectors",
            "make it from a run: PersonaSpace.from_run(run)",
        )
    return Lack(
        "single replies are needed, and the run of this space is not at hand",
        "put the run folder where it was or beside the space, or set space.run to it",
    )


def _no_folds(space: Space) -> Lack:
    questions = space.table.card.get("questions")
    if questions == 1:
        return Lack(
            "halves of the questions are needed, and one question was collected",
            "collect with two questions or more",
        )
    return Lack(
        "folds of the questions are needed, and this space keeps none",
        "make it from its run: PersonaSpace.from_run(run)",
    )
