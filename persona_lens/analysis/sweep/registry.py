"""What a sweep can measure: a register that anyone adds to with one decorator.

    @metric("longest_share", kinds=("role", "trait"), scale="share")
    def longest_share(view):
        '''Share of the squared length that the longest vector holds.'''
        squares = view.norms**2
        return squares.max(axis=1) / squares.sum(axis=1)

    space.sweep(metrics=["longest_share"])

The function sees a batch of draws at once and returns one number a draw, or one a draw and unit. The interval
comes from draws that are random halves of the units, the null from draws of random directions or shuffled
units; see `persona_lens.analysis.sweep.intervals` and `persona_lens.analysis.sweep.views`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from persona_lens.analysis.sweep.intervals import SCALES, Scale
from persona_lens.errors import SpaceError
from persona_lens.spelling import did_you_mean

KINDS = ("role", "trait", "role-trait")
RANDOM, SHUFFLED, IMPOSTOR = (
    "random directions",
    "shuffled units",
    "a role in the default's place",
)
NULLS = (RANDOM, SHUFFLED, IMPOSTOR)
FOLD_METRICS = ("split_half", "split_half_spearman_brown")
REPLY_METRICS = (
    "identity",
    "identity_top1",
    "auc",
    "auc_probe",
    "d_prime",
    "silhouette",
    "fisher",
    "reliability",
)
"""Those that need single replies; they come with `space.separability_`."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Metric:
    """A number of the vectors of one layer.

    Attributes:
        name: As in the column `metric`.
        function: Takes a `LayerVectors`, for kind "role-trait" a `LayerPair`; returns `Float[draw]` or
            `Float[draw unit]`, or None where it is not defined (the last layer has no next one).
        kinds: What it is measured of: `role`, `trait`, `role-trait`.
        nulls: What chance is, among `NULLS`.
        scale: The scale on which its errors are alike, among `SCALES`.
    """

    name: str
    function: Callable[..., Any]
    kinds: tuple[str, ...]
    nulls: tuple[str, ...]
    scale: Scale

    @property
    def help(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0]


_METRICS: dict[str, Metric] = {}


def metric(
    name: str,
    *,
    kinds: Sequence[str] = ("role", "trait"),
    nulls: Sequence[str] = (RANDOM,),
    scale: Scale = "linear",
) -> Callable[[Function], Function]:
    """Register a function as a metric of the sweep; the same name again replaces it.

    A metric must not depend on the basis: vectors come in an orthonormal basis of the span of the layer's own
    vectors, in which lengths and angles are as they were, but coordinates are not neurons.

    Args:
        name: In `metrics=` and in the frame.
        kinds: Of `role`, `trait` and `role-trait`.
        nulls: Of "random directions" (Gaussian vectors with the norms of the real ones), "shuffled units" (those
            of the other layers in another order) and "a role in the default's place" (another axis).
        scale: On which the interval is made: `linear`, `inverse` (counts of dimensions), `fisher` (correlations
            and cosines), `absolute` (|cos|) or `share` (from 0 to 1).

    Raises:
        SpaceError: An unknown kind, null or scale, or a name that is taken by a metric of replies.

    Examples:
        >>> @metric("mean_length", scale="linear", nulls=())
        ... def mean_length(view):
        ...     return view.norms
        >>> find(["mean_length"])[0].kinds
        ('role', 'trait')
        >>> forget("mean_length")
    """
    for given, known, what in (
        (kinds, KINDS, "kind"),
        (nulls, NULLS, "null"),
        ([scale], SCALES, "scale"),
    ):
        for item in given:
            if item not in known:
                raise SpaceError(f"unknown {what}", expected=", ".join(known), given=item)
    if name in (*FOLD_METRICS, *REPLY_METRICS):
        raise SpaceError(f"{name!r} is a metric already", remedy="choose another name")

    def register(function: Function) -> Function:
        _METRICS[name] = Metric(name, function, tuple(kinds), tuple(nulls), scale)
        return function

    return register


def forget(name: str) -> None:
    """Take a metric out of the register."""
    _METRICS.pop(name, None)


def known_metrics() -> tuple[str, ...]:
    """Every name that `metrics=` takes."""
    return (*_METRICS, *FOLD_METRICS, *REPLY_METRICS)


def find(names: Sequence[str]) -> list[Metric]:
    """The metrics of vectors among `names`, in that order.

    Raises:
        SpaceError: A name that nobody knows.
    """
    unknown = [name for name in names if name not in known_metrics()]
    if unknown:
        raise SpaceError(
            "unknown metric",
            expected=", ".join(known_metrics()),
            given=", ".join(unknown),
            remedy=did_you_mean(unknown[0], known_metrics()),
        )
    return [_METRICS[name] for name in names if name in _METRICS]
