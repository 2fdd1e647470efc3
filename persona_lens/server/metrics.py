"""Prometheus metrics of one server, in a registry of their own.

    metrics = Metrics("smollm2-135m-instruct", spread=(6.1, 0.9))
    metrics.render()                # what /metrics says

Labels are the model, the plan (a name the operator gave, `default`, `none` or `requested`), the reading, the
route, the status: never a conversation, a key or a text, so that the number of series stays small.
`docs/assets/grafana.json` is a dashboard of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_Z = (-12.0, -8.0, -6.0, -5.0, -4.0, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)
_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """What is counted and measured.

    Args:
        model: Name of the model, a label of most series.
        spread: Mean and standard deviation of projections of default replies, which the buckets of projections are
            set by; without them they are those of a projection of any size.

    Examples:
        >>> metrics = Metrics("m")
        >>> metrics.request("/v1/models", 200)
        >>> 'persona_lens_requests_total{route="/v1/models",status="200"} 1.0' in metrics.render().decode()
        True
    """

    def __init__(self, model: str, spread: tuple[float, float] | None = None) -> None:
        self.registry = CollectorRegistry()
        self._model = model
        given: dict[str, Any] = {"registry": self.registry, "namespace": "persona_lens"}
        by_plan = ["model", "plan"]
        by_reading = [*by_plan, "reading"]
        self._requests = Counter("requests", "Requests answered.", ["route", "status"], **given)
        self._replies = Counter(
            "replies", "Replies by how they end.", [*by_plan, "finish"], **given
        )
        self._tokens = Counter("tokens", "Tokens read and written.", ["model", "kind"], **given)
        self._alerts = Counter(
            "alerts", "Conversations that the monitor found drifting, each once.", by_plan, **given
        )
        self._projection = Histogram(
            "projection",
            "Mean projection of a reply on the Assistant axis, in units of the residual stream.",
            by_reading,
            buckets=_around(spread),
            **given,
        )
        self._z = Histogram(
            "projection_z",
            "The same in standard deviations of default replies.",
            by_reading,
            buckets=_Z,
            **given,
        )
        self._engaged = Histogram(
            "engaged_ratio",
            "Share of the tokens and layers a plan was to touch that it moved, of each reply.",
            by_plan,
            buckets=_SHARES,
            **given,
        )
        self._latency = Histogram(
            "request_seconds",
            "From a request to the end of its last reply.",
            ["model"],
            buckets=_SECONDS,
            **given,
        )
        self._first = Histogram(
            "time_to_first_token_seconds",
            "From a request to its first token.",
            ["model"],
            buckets=_SECONDS,
            **given,
        )
        self._waiting = Gauge(
            "waiting_replies", "Replies that wait for a place.", ["model"], **given
        )
        self._running = Gauge(
            "running_replies", "Replies that are written now.", ["model"], **given
        )
        self._up = Gauge("up", "1 while requests are taken, 0 while the server ends.", **given)
        self._up.set(1)
        for kind in ("prompt", "reply"):
            self._tokens.labels(model, kind)
        self.load(0, 0)

    def known(self, plans: Mapping[str, object]) -> None:
        """Begin the series of some plans at 0, so that rates are right from the first alert on."""
        for plan in plans:
            self._alerts.labels(self._model, plan)

    def request(self, route: str, status: int) -> None:
        """A request was answered."""
        self._requests.labels(route, str(status)).inc()

    def load(self, running: int, waiting: int) -> None:
        """How much there is to do."""
        self._running.labels(self._model).set(running)
        self._waiting.labels(self._model).set(waiting)

    def first_token(self, seconds: float) -> None:
        """A request has its first token."""
        self._first.labels(self._model).observe(seconds)

    def finished(self, seconds: float) -> None:
        """A request has all its replies."""
        self._latency.labels(self._model).observe(seconds)

    def ended(self, plan: str, finish: str) -> None:
        """A reply came to its end."""
        self._replies.labels(self._model, plan, finish).inc()

    def tokens(self, prompt: int, reply: int) -> None:
        """Tokens that were read and written."""
        self._tokens.labels(self._model, "prompt").inc(prompt)
        self._tokens.labels(self._model, "reply").inc(reply)

    def placed(self, plan: str, reading: str, place: Mapping[str, Any]) -> None:
        """Where a reply lies."""
        if place["mean"] is not None:
            self._projection.labels(self._model, plan, reading).observe(place["mean"])
        if place["z"] is not None:
            self._z.labels(self._model, plan, reading).observe(place["z"])

    def engaged(self, plan: str, share: float) -> None:
        """How much of a reply its plan moved."""
        self._engaged.labels(self._model, plan).observe(share)

    def alert(self, plan: str) -> None:
        """A conversation drifts."""
        self._alerts.labels(self._model, plan).inc()

    def leaving(self) -> None:
        """The server ends."""
        self._up.set(0)

    def render(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


def _around(spread: tuple[float, float] | None) -> tuple[float, ...]:
    """Buckets at half standard deviations of default replies, wider below; by size where these are not known."""
    if spread is None:
        sizes = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
        return (*(-size for size in reversed(sizes)), 0.0, *sizes)
    mean, deviation = spread
    return tuple(float(f"{mean + z * deviation:.4g}") for z in _Z)
