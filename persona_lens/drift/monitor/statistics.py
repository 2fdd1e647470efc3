"""What a monitor can watch: numbers of the turns of a conversation so far, higher where they are more alarming.

    @statistic("latest")
    def latest(x, calm):
        '''How low the latest turn is.'''
        return -carried(x)

    Monitor.calibrate(calm, statistic="latest")
    Monitor.calibrate(calm, statistic=find("cusum").having(k=1.0))

A function sees many conversations at once, `Float[conversation turn]`, turned so that low is alarming, and
returns its value after each turn. A turn that was not read is NaN: it changes nothing, and the value before it
stands. What a function knows of calm turns (`calm.level`, `calm.spread`) never comes from conversations that set
the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from persona_lens.errors import MonitorError
from persona_lens.spelling import did_you_mean

Values = Float[np.ndarray, "conversation turn"]


class Calm(NamedTuple):
    """What is known of calm turns along one direction: mean and standard deviation of single turns."""

    level: float
    spread: float


Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Statistic:
    """A number of the turns so far.

    Attributes:
        name: As `statistic=` takes it.
        function: See the top of this module.
        needs_calm: Whether it is made of the level and spread of calm turns.
        of_residuals: Whether it looks at residuals of a forecast (predicted minus actual projection) and not at
            the projections.
        options: Keyword arguments of the function.
    """

    name: str
    function: Callable[..., Values] = field(repr=False)
    needs_calm: bool = False
    of_residuals: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def help(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0]

    def having(self, **options: Any) -> Statistic:
        """The same with other options.

        Examples:
            >>> find("cusum").having(k=1.0).options
            {'k': 1.0}
        """
        return replace(self, options={**self.options, **options})

    def __call__(self, x: Values, calm: Calm) -> Values:
        """The values of some conversations."""
        return self.function(np.asarray(x, dtype=np.float64), calm, **self.options)

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{self.name} ({told})" if told else self.name


_STATISTICS: dict[str, Statistic] = {}


def statistic(
    name: str, *, needs_calm: bool = False, of_residuals: bool = False, **options: Any
) -> Callable[[Function], Function]:
    """Register a function as a statistic; the same name again replaces it.

    Args:
        name: As `statistic=` takes it.
        needs_calm: As `Statistic`.
        of_residuals: As `Statistic`.
        **options: What the function is called with if nothing else is said.

    Examples:
        >>> @statistic("latest")
        ... def latest(x, calm):
        ...     return -carried(x)
        >>> find("latest")(np.array([[1.0, np.nan, -3.0]]), Calm(0.0, 1.0)).tolist()
        [[-1.0, -1.0, 3.0]]
        >>> forget("latest")
    """

    def register(function: Function) -> Function:
        _STATISTICS[name] = Statistic(name, function, needs_calm, of_residuals, options)
        return function

    return register


def forget(name: str) -> None:
    """Take a statistic out of the register."""
    _STATISTICS.pop(name, None)


def known_statistics() -> tuple[str, ...]:
    """Every name that `statistic=` takes, the simplest first."""
    return tuple(_STATISTICS)


def find(given: str | Statistic) -> Statistic:
    """A statistic by its name.

    Raises:
        MonitorError: There is none of the name.
    """
    if isinstance(given, Statistic):
        return given
    if given not in _STATISTICS:
        raise MonitorError(
            "unknown statistic",
            expected=", ".join(known_statistics()),
            given=given,
            remedy=did_you_mean(given, known_statistics()),
        )
    return _STATISTICS[given]


def carried(x: Values) -> Values:
    """Values of turns that were read, each standing until the next; NaN before the first."""
    last = np.where(np.isfinite(x), np.arange(x.shape[1]), -1)
    last = np.maximum.accumulate(last, axis=1)
    found = np.take_along_axis(x, np.maximum(last, 0), axis=1)
    return np.where(last >= 0, found, np.nan)


def _stepped(x: Values, start: float, step: Callable[[Any, Any], Any]) -> Values:
    """`step(value before, turn)` from turn to turn; turns that were not read are passed over."""
    value = np.full(len(x), start)
    seen = np.zeros(len(x), dtype=bool)
    found = np.full(x.shape, np.nan)
    for turn in range(x.shape[1]):
        known = np.isfinite(x[:, turn])
        value = np.where(known, step(value, np.where(known, x[:, turn], 0.0)), value)
        seen |= known
        found[:, turn] = np.where(seen, value, np.nan)
    return found


def _steps(x: Values) -> Values:
    """Length of the step to each turn from the one read before it; 0 at the first, NaN at those not read."""
    before = np.concatenate([np.full((len(x), 1), np.nan), carried(x)[:, :-1]], axis=1)
    lengths = np.where(np.isnan(before), 0.0, np.abs(x - before))
    return np.where(np.isfinite(x), lengths, np.nan)


@statistic("lowest")
def lowest(x: Values, calm: Calm) -> Values:
    """The lowest projection so far."""
    return -np.fmin.accumulate(x, axis=1)


@statistic("drop", first=1)
def drop(x: Values, calm: Calm, *, first: int) -> Values:
    """How far a turn is below the conversation's own first turns, of which there are `first`."""
    number = np.cumsum(np.isfinite(x), axis=1)
    own = np.where((number <= first) & np.isfinite(x), x, 0.0).sum(axis=1, keepdims=True) / first
    return np.where(number >= first, own - carried(x), np.nan)


@statistic("jump")
def jump(x: Values, calm: Calm) -> Values:
    """The largest step between two turns so far, up or down."""
    return np.fmax.accumulate(_steps(x), axis=1)


@statistic("path")
def path(x: Values, calm: Calm) -> Values:
    """All steps so far together, up and down."""
    return _stepped(_steps(x), 0.0, lambda total, step: total + step)


@statistic("ewma", needs_calm=True, weight=0.2)
def ewma(x: Values, calm: Calm, *, weight: float) -> Values:
    """How far an average that forgets is below the calm level, in calm spreads of single turns.

    It begins at the calm level and moves by `weight` of the distance to each turn.

    Source: Roberts 1959.
    """
    z = (calm.level - x) / calm.spread
    return _stepped(z, 0.0, lambda average, turn: average + weight * (turn - average))


@statistic("cusum", needs_calm=True, k=0.5)
def cusum(x: Values, calm: Calm, *, k: float) -> Values:
    """One-sided sum of what turns are below the calm level by more than `k` calm spreads.

    Source: Page 1954.
    """
    z = (calm.level - x) / calm.spread
    return _stepped(z, 0.0, lambda total, turn: np.maximum(0.0, total + turn - k))


@statistic("residual", of_residuals=True)
def residual(x: Values, calm: Calm) -> Values:
    """How far a turn is below what was forecast for it; who made the forecast does not matter."""
    return -carried(x)
