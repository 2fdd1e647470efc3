"""What the paper published of its three models: numbers, ranges and lists of names, each with its section.

    claims()["cos_pc1_middle"].values        # by model, with where the number is from
    name_lists("pc1")                        # Table 1: which roles lie at either end

Only facts and figures are kept. What the paper only draws is a half-line: it is known on which side it lies.

Source: "The Assistant Axis" (arXiv 2601.10387), its released code and its author's research repository.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

Kind = Literal["amount", "sign", "within", "absence"]
"""How a claim is held against ours; see `persona_lens.paper.verdicts`."""


class Stated(BaseModel):
    """What was published of one model: a value, a range, or a half-line.

    Attributes:
        model: Whose.
        low, high: The same for a value; infinite where only the side is known.
        source: "paper"; "released code"; "research repository", of the paper's author; or "derived" from those.
        note: What else there is to know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    low: float
    high: float
    source: Literal["paper", "released code", "research repository", "derived"]
    note: str = ""

    @field_validator("low", mode="before")
    @classmethod
    def _from(cls, value: Any) -> Any:
        return -math.inf if value is None else value

    @field_validator("high", mode="before")
    @classmethod
    def _to(cls, value: Any) -> Any:
        return math.inf if value is None else value


class Claim(BaseModel):
    """One published quantity.

    Attributes:
        key: Its name here.
        section: Of the paper.
        where: Figure or table, if it is in one.
        quantity: What it is, in our words.
        unit: Of the values.
        kind: How it is held against ours.
        margin: For kind "absence": a change of less than this counts as none.
        values: By model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    section: str
    where: str
    quantity: str
    unit: str
    kind: Kind
    margin: float | None = None
    values: tuple[Stated, ...]

    @property
    def range(self) -> tuple[float, float]:
        """From the lowest to the highest of the models.

        Examples:
            >>> claims()["pcs70_roles"].range
            (4.0, 19.0)
        """
        return min(each.low for each in self.values), max(each.high for each in self.values)


class NameList(BaseModel):
    """Names at the two ends of a direction.

    Attributes:
        key: Which direction.
        section: Table of the paper.
        model: Whose.
        plus, minus: Names at either end; plus is the Assistant's where the direction is about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    section: str
    model: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]


class Asked(BaseModel):
    """One line of the protocol.

    Attributes:
        what: Is counted.
        section: Of the paper.
        values: By model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    section: str
    values: dict[str, int]


@cache
def claims() -> dict[str, Claim]:
    """All published quantities by key, in the order of the paper's parts.

    Examples:
        >>> forecast = claims()["forecast_next"]
        >>> forecast.section, forecast.range, forecast.values[0].note
        ('4.2', (0.53, 0.77), 'in the sample')
    """
    return {each["key"]: Claim(**each) for each in _data()["claims"]}


def name_lists(key: str) -> tuple[NameList, ...]:
    """The published ends of a direction, a list a model: "pc1", "pc2", "pc3", "roles" or "traits".

    Examples:
        >>> [found.model for found in name_lists("pc1")], name_lists("pc1")[0].minus[0]
        (['Gemma 2 27B', 'Qwen 3 32B', 'Llama 3.3 70B'], 'bohemian')
    """
    return tuple(NameList(**each) for each in _data()["lists"] if each["key"] == key)


def pooled_ends(key: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of all models at each end, once each; those that models put at different ends are left out.

    Examples:
        >>> plus, minus = pooled_ends("pc1")
        >>> len(plus), len(minus), "reviewer" in plus
        (10, 12, True)
    """
    lists = name_lists(key)
    plus = dict.fromkeys(name for each in lists for name in each.plus)
    minus = dict.fromkeys(name for each in lists for name in each.minus)
    return (
        tuple(name for name in plus if name not in minus),
        tuple(name for name in minus if name not in plus),
    )


def protocol() -> tuple[Asked, ...]:
    """What was asked of each model, and where it was read."""
    return tuple(Asked(**each) for each in _data()["protocol"])


def models() -> tuple[str, ...]:
    """The three models.

    Examples:
        >>> models()
        ('Gemma 2 27B', 'Qwen 3 32B', 'Llama 3.3 70B')
    """
    return tuple(_data()["models"])


@cache
def _data() -> dict[str, Any]:
    text = files("persona_lens.paper").joinpath("data/published.json").read_text("utf-8")
    return json.loads(text)
