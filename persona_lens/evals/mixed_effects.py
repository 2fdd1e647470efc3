"""A yes or no against a projection, with the inclination of each role as a random effect.

    logit P(y = 1) = intercept + slope * (x - mean of its role) + between * mean of its role + role
    role ~ N(0, role_sd^2)

Angel and demon may stand equally far from the Assistant and not be equally bad: the slope is what the projection
says once it is known who speaks. That roles which stand elsewhere also behave otherwise is no part of it: the
means of the roles have a coefficient of their own, after Mundlak 1978.

    role_slope(x, y, role)["slope"]         # log-odds per standard deviation of x

The likelihood is that of each role's replies with its intercept integrated out, by adaptive Gauss-Hermite
quadrature (as in lme4's `glmer`). The mode of all effects together, which statsmodels' `BinomialBayesMixedGLM`
finds, has none with many roles of few replies: it runs off to roles that do not differ at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import t

from persona_lens.statistics import permutation_p

NULL_DRAWS = 99
_FEWEST_ROLES = 3
_NODES, _WEIGHTS = np.polynomial.hermite.hermgauss(15)
_NEWTON = 8
_STEEPEST, _SD = 15.0, (-4.0, 1.7)
"""Bounds: of coefficients, and of the logarithm of the roles' standard deviation. At the upper one each role is
all or none, which says nothing of a slope."""
_FITTED = 0.9
"""Share of the null fits that must come to something, or there is no null."""
_STEP = 1e-4


def role_slope(
    x: Float[np.ndarray, " reply"],
    y: Float[np.ndarray, " reply"],
    role: Int[np.ndarray, " reply"],
    unit: Int[np.ndarray, " reply"] | None = None,
    *,
    null_draws: int = NULL_DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Logistic regression with a random intercept of each role.

    Args:
        x: Projections, in any unit; positive is toward the Assistant.
        y: 0 or 1.
        role: Who speaks.
        unit: What has one projection for several replies, such as a first turn; each is of one role. By default
            every reply has its own.
        null_draws: Fits with the projections of the units dealt out anew within each role.
        seed: Of these.

    Returns:
        `slope`, in log-odds per standard deviation of x, with `low` and `high` (95 %, by Student's t with as many
        degrees of freedom as roles less two, of the larger of two standard errors: that of the likelihood, and
        that which allows for anything that replies of a role share); `null_low`, `null_high` (95 % of the slopes
        under the null) and `p`, two-sided; `role_sd`, of the roles' intercepts in log-odds; `n` replies, `units`,
        `roles`. NaN where y does not vary, no role has two different projections, there are fewer than three
        roles, or x or the role alone tells y.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> role, x = np.arange(400) % 20, rng.normal(size=400)
        >>> y = (rng.random(400) < expit(-1.5 * x + rng.normal(size=20)[role])).astype(float)
        >>> found = role_slope(x, y, role, null_draws=39)
        >>> found["low"] < -1.5 < found["high"] < found["null_low"], found["p"]
        (True, 0.05)
    """
    role = np.unique(role, return_inverse=True)[1]
    unit = np.unique(np.arange(len(x)) if unit is None else unit, return_inverse=True)[1]
    found: dict[str, Any] = {
        **dict.fromkeys(("slope", "low", "high", "null_low", "null_high", "p", "role_sd"), np.nan),
        "n": len(y),
        "units": int(unit.max(initial=-1)) + 1,
        "roles": int(role.max(initial=-1)) + 1,
    }
    order = np.argsort(role, kind="stable")
    x, y, role, unit = x[order], y[order], role[order], unit[order]
    _, first = np.unique(unit, return_index=True)
    of_units, roles = x[first], role[first]
    varies = any(np.ptp(of_units[roles == each]) > 0 for each in np.unique(roles))
    if found["roles"] < _FEWEST_ROLES or not 0 < y.mean() < 1 or not varies:
        return found
    begin = np.flatnonzero(np.diff(role, prepend=-1))
    fit = _fitted(_fixed(x, role), y, begin)
    if fit is None:
        return found
    half = float(t.ppf(0.975, found["roles"] - 2)) * fit.error
    found |= {"slope": fit.slope, "low": fit.slope - half, "high": fit.slope + half}
    found["role_sd"] = float(np.exp(fit.parameters[-1]))
    rng, null = np.random.default_rng(seed), []
    for _ in range(null_draws):
        dealt = _dealt(of_units, roles, rng)[unit]
        other = _fitted(_fixed(dealt, role), y, begin, fit.parameters, with_error=False)
        null += [] if other is None else [other.slope]
    if len(null) > _FITTED * null_draws:
        low, high = np.quantile(null, [0.025, 0.975])
        p = float(permutation_p(fit.slope, np.array(null), "two-sided"))
        found |= {"null_low": float(low), "null_high": float(high), "p": p}
    return found


def _fixed(x: np.ndarray, role: np.ndarray) -> Float[np.ndarray, "reply coefficient"]:
    """Ones, x within its role, and the mean of the role where roles differ in it."""
    means = (np.bincount(role, x) / np.bincount(role))[role]
    columns = [np.ones_like(x), (x - means) / x.std()]
    if np.ptp(means) > 1e-9 * x.std():
        columns.append((means - x.mean()) / x.std())
    return np.column_stack(columns)


class _Fit(NamedTuple):
    parameters: Float[np.ndarray, " coefficient+1"]
    slope: float
    error: float


def _fitted(
    fixed: np.ndarray,
    y: np.ndarray,
    begin: np.ndarray,
    start: np.ndarray | None = None,
    *,
    with_error: bool = True,
) -> _Fit | None:
    """The most likely parameters; None where there are none within bounds, as where x alone tells y."""

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, scores = _by_role(parameters, fixed, y, begin)
        return -value.sum(), -scores.sum(axis=1)

    coefficients = fixed.shape[1]
    bounds = [(-_STEEPEST, _STEEPEST)] * coefficients + [_SD]
    if start is None or len(start) != coefficients + 1:
        start = np.array([0.0] * coefficients + [np.log(0.5)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    at = np.asarray(found.x)
    if not found.success or abs(at[1]) >= _STEEPEST - 1e-6 or at[-1] >= _SD[1] - 1e-6:
        return None
    if not with_error:
        return _Fit(at, float(at[1]), np.nan)
    # At the edge of no difference between roles their spread is no longer a parameter.
    inside = at[-1] > _SD[0] + 0.5
    error = _error(lambda place: _by_role(place, fixed, y, begin)[1], at, coefficients + inside)
    return _Fit(at, float(at[1]), error) if np.isfinite(error) else None


def _error(scores: Callable[[np.ndarray], np.ndarray], at: np.ndarray, free: int) -> float:
    """Standard error of the slope: of the likelihood, or the sandwich over roles if that is larger."""
    of_roles = scores(at)[:free]
    steps = np.eye(len(at))[:free] * _STEP
    bent = np.stack([(scores(at + d) - scores(at - d)).sum(axis=1)[:free] for d in steps])
    try:
        covariance = np.linalg.inv(-(bent + bent.T) / (4 * _STEP))
    except np.linalg.LinAlgError:
        return np.nan
    roles = of_roles.shape[1]
    robust = covariance @ (of_roles @ of_roles.T) @ covariance * roles / (roles - 1)
    return float(np.sqrt(max(covariance[1, 1], robust[1, 1]))) if covariance[1, 1] > 0 else np.nan


def _by_role(
    parameters: np.ndarray, fixed: np.ndarray, y: np.ndarray, begin: np.ndarray
) -> tuple[Float[np.ndarray, " role"], Float[np.ndarray, "coefficient+1 role"]]:
    """Log-likelihood of each role's replies, which start at `begin`, its intercept integrated out; its slopes."""
    sd, known = np.exp(parameters[-1]), fixed @ parameters[:-1]
    role = np.repeat(np.arange(len(begin)), np.diff(begin, append=len(y)))
    mode, bend = np.zeros(len(begin)), np.ones(len(begin))
    for _ in range(_NEWTON):
        p = expit(known + sd * mode[role])
        bend = 1 + sd**2 * np.add.reduceat(p * (1 - p), begin)
        step = (sd * np.add.reduceat(y - p, begin) - mode) / bend
        mode = mode + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-8:
            break
    width = np.sqrt(2 / bend)[:, None]
    z = mode[:, None] + width * _NODES
    at = known[:, None] + sd * z[role]
    of_nodes = np.add.reduceat(log_expit((2 * y - 1)[:, None] * at), begin) - z**2 / 2
    of_nodes += _NODES**2 + np.log(_WEIGHTS) + np.log(width) - np.log(2 * np.pi) / 2
    value = np.asarray(logsumexp(of_nodes, axis=1))
    share = np.exp(of_nodes - value[:, None])
    # Fisher: the slope of an integrated likelihood is the mean of the slopes where the intercept may be.
    left = y[:, None] - expit(at)
    of_replies = (left * share[role]).sum(axis=1)
    scores = [np.add.reduceat(of_replies * column, begin) for column in fixed.T]
    scores.append(sd * (np.add.reduceat(left, begin) * z * share).sum(axis=1))
    return value, np.stack(scores)


def _dealt(x: np.ndarray, role: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The projections dealt out anew among the units of each role."""
    order = np.lexsort((rng.random(len(x)), role))
    dealt = np.empty_like(x)
    dealt[np.argsort(role, kind="stable")] = x[order]
    return dealt
