"""What /metrics says, as Prometheus reads it, and the dashboard that is made of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from persona_lens.interventions import Add, Plan
from persona_lens.server.metrics import Metrics

ROOT = Path(__file__).parents[2]
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
_NAME = re.compile(r"persona_lens_\w+")


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_asked_is_counted(serving, client, tiny_space):
    push = Plan.of(Add(tiny_space.direction("assistant", layers=[1]), lengths=[0.5]))
    server = serving(plans={"push": push})
    asking = client(server).chat.completions
    for plan in ("push", "none", "none"):
        asking.create(**ASKED, extra_body={"persona": {"plan": plan}})
    httpx.post(server.url + "/chat/completions", content=b"{")
    httpx.get(server.url + "/secret/123")
    found = samples(httpx.get(server.url.removesuffix("/v1") + "/metrics").text)

    def value(name: str, **labels: str) -> float:
        return found["persona_lens_" + name, tuple(sorted(labels.items()))]

    model = "tiny"
    assert value("requests_total", route="/v1/chat/completions", status="200") == 3
    assert value("requests_total", route="/v1/chat/completions", status="400") == 1
    assert value("requests_total", route="other", status="404") == 1
    assert value("replies_total", model=model, plan="none", finish="stop") == 2
    assert value("projection_count", model=model, plan="push", reading="before") == 1
    assert value("projection_bucket", model=model, plan="none", reading="before", le="30.0") == 2
    assert value("projection_bucket", model=model, plan="none", reading="before", le="10.0") == 0
    assert value("engaged_ratio_count", model=model, plan="push") == 1
    assert value("request_seconds_count", model=model) == 3
    assert value("time_to_first_token_seconds_count", model=model) == 3
    assert value("tokens_total", model=model, kind="reply") == 3 * 31
    assert value("alerts_total", model=model, plan="push") == 0
    assert value("running_replies", model=model) == 0
    assert value("up") == 1
    assert "secret" not in str(found)


def test_names_follow_the_conventions_of_prometheus():
    families = list(text_string_to_metric_families(Metrics("m").render().decode()))
    for family in families:
        assert family.name.startswith("persona_lens_")
        assert family.documentation
        labels = {label for sample in family.samples for label in sample.labels}
        assert labels <= {"route", "status", "model", "plan", "finish", "kind", "reading", "le"}
    assert len(families) > 10


@pytest.mark.parametrize("spread", [None, (6.0, 0.5)])
def test_buckets_ascend(spread):
    metrics = Metrics("m", spread)
    metrics.placed("none", "before", {"mean": 5.9, "z": -0.2})
    text = metrics.render().decode()
    bounds = re.findall(r'persona_lens_projection_bucket\{le="([^"]+)"', text)
    assert bounds
    assert [float(bound) for bound in bounds] == sorted(map(float, bounds))


def test_every_name_on_the_dashboard_is_a_metric_and_every_metric_is_on_it():
    board = json.loads((ROOT / "docs" / "assets" / "grafana.json").read_text("utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [
        each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"
    ]
    metrics = Metrics("m", (1.0, 1.0))
    for reading in ("before", "after", "clean"):
        metrics.placed("none", reading, {"mean": 1.0, "z": 0.0})
    metrics.engaged("none", 0.5)
    metrics.ended("none", "stop")
    metrics.alert("none")
    metrics.request("/v1/models", 200)
    metrics.first_token(1.0)
    metrics.finished(1.0)
    families = list(text_string_to_metric_families(metrics.render().decode()))
    names = {sample.name for family in families for sample in family.samples}
    asked = {name for query in queries for name in _NAME.findall(query)}
    assert asked
    assert asked <= names, asked - names
    kept = {family.name for family in families if not family.name.endswith("_created")}
    shown = {
        name.removesuffix(end)
        for name in asked
        for end in ("_total", "_bucket", "_sum", "_count", "")
    }
    assert kept <= shown, kept - shown
    legends = {
        label
        for panel in board["panels"]
        for target in panel["targets"]
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
    }
    assert legends <= {"plan", "reading", "kind", "status", "finish"}
