"""`capping_config.pt`, the paper's capping settings, as plans.

    {"vectors": {"layer_46/contrast_role_pos3_default1": {"vector": Tensor[d_model], "layer": 46}, ...},
     "experiments": [{"id": "layers_46:54-p0.25",
                      "interventions": [{"vector": "layer_46/...", "cap": -20.5}, ...]}, ...]}

Three things about this file are easy to get wrong, and reading it the wrong way caps the wrong end:

* the released vectors are **role minus default**: they point away from the Assistant;
* the released code is a **ceiling**, `h <- h - max(<h, v> - cap, 0) v` with unit `v`, where the paper's text
  (section 5, equation 1) writes a floor on the Assistant. On reversed vectors these are one operation: a ceiling
  at `cap` on `-v` is a floor at `-cap` on `v`;
* `p0.25` in an id is a percentile along the stored vector: percentile 75 in the direction of the Assistant.

So every vector is held against the Assistant Axis, and turned with its threshold if it points the other way.
Layers are blocks from 0, and the range in an id leaves its end out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from persona_lens.errors import InterventionError
from persona_lens.interop.torch_files import as_array, read_torch
from persona_lens.interventions import Ceil, Direction, Floor, Origin, Plan, Step
from persona_lens.interventions.where import Where

Reading = Literal["auto", "ceiling", "floor"]

MIN_COSINE = 0.5
"""Below this |cosine| with the axis, a vector counts as neither along nor against it."""

_PERCENTILE = re.compile(r"-p(\d*\.?\d+)$")


@dataclass(frozen=True, eq=False)
class CappingVector:
    """A vector of the file.

    Attributes:
        key: Its name there.
        layer: Block whose output is capped.
        values: As stored.
        cosine: With the Assistant Axis at that layer; 0 if the axis is not known there.
    """

    key: str
    layer: int
    values: Float[np.ndarray, " d_model"]
    cosine: float

    @property
    def oriented(self) -> bool:
        """Whether it lies along the axis, one way or the other."""
        return abs(self.cosine) >= MIN_COSINE

    @property
    def reversed(self) -> bool:
        """Whether it points from the Assistant to the roles."""
        return self.cosine <= -MIN_COSINE


class Cap(NamedTuple):
    """One intervention of an experiment.

    Attributes:
        vector: Key of its vector.
        value: Where the projection on the vector as stored is cut off.
        sinks: Whether BOS and attention sinks are capped too; only files of `write_capping_config` say so.
    """

    vector: str
    value: float
    sinks: bool = False


@dataclass(frozen=True, eq=False)
class CappingConfig:
    """The settings in a file, and how they are read.

    Attributes:
        vectors: By key.
        experiments: Caps by the id of the experiment, in the order they are run.
        skipped: How many interventions of an experiment have no cap, where any have none: the released code passes
            over them, and so does `plan`.
        reading: What a cap does along the vector as stored: `ceiling`, `floor`, or `auto`: a ceiling on reversed
            vectors, as in the released code and files, and a floor on those that point to the Assistant, as in the
            paper's equation.
        origin: The model the vectors are of: that of the axis they were held against.
    """

    vectors: Mapping[str, CappingVector]
    experiments: Mapping[str, Sequence[Cap]]
    reading: Reading = "auto"
    skipped: Mapping[str, int] = field(default_factory=dict)
    origin: Origin | None = None

    def plan(self, experiment: str) -> Plan:
        """The plan of one experiment; directions point to the Assistant.

        It is on every token but BOS and sinks, unless the file says that its plan was on all of them.

        Vectors that lie neither along nor against the axis keep the direction they are stored in.

        Raises:
            InterventionError: No such experiment, one without any cap, or a vector whose orientation cannot be
                told while the reading is `auto`.
        """
        if experiment not in self.experiments:
            close = difflib.get_close_matches(experiment, self.experiments, n=3)
            raise InterventionError(
                f"no experiment {experiment!r} in this release",
                remedy=f"did you mean {', '.join(close)}?" if close else "see release.experiments",
            )
        if not self.experiments[experiment]:
            raise InterventionError(
                f"the experiment {experiment!r} caps nothing",
                expected="interventions with a cap",
                given=f"{self.skipped.get(experiment, 0)} without one",
                remedy="choose another: see release.experiments",
            )
        groups: list[_Group] = []
        for cap in self.experiments[experiment]:
            vector = self.vectors[cap.vector]
            what = (self._kind(vector), _name(vector), cap.sinks)
            # One step holds a layer once; what is stored later at the same layer runs later.
            if not groups or not groups[-1].takes(what, vector.layer):
                groups.append(_Group(*what, self.origin, [], [], []))
            groups[-1].add(vector, cap.value)
        return Plan(tuple(Step(group.operation(), Where(sinks=group.sinks)) for group in groups))

    def _kind(self, vector: CappingVector) -> type[Floor] | type[Ceil]:
        if self.reading == "auto" and not vector.oriented:
            raise InterventionError(
                f"{vector.key} lies neither along nor against the Assistant Axis, so it cannot be told "
                "whether its cap is a ceiling or a floor",
                expected=f"a cosine beyond {MIN_COSINE} or -{MIN_COSINE}",
                given=f"{vector.cosine:.2f}",
                remedy='say so: operation="ceiling" does what the released code does, along the vector as stored',
            )
        ceiling = self.reading == "ceiling" or (self.reading == "auto" and vector.reversed)
        return Ceil if ceiling != vector.reversed else Floor

    def notes(self) -> tuple[str, ...]:
        """What was found in the file and what was turned, for people."""
        cosines = np.array([vector.cosine for vector in self.vectors.values()])
        flipped = np.array([vector.reversed for vector in self.vectors.values()])
        lost = [vector.key for vector in self.vectors.values() if not vector.oriented]
        along = cosines >= MIN_COSINE
        notes = [f"{len(self.vectors)} capping vectors, {len(self.experiments)} experiments"]
        if flipped.any():
            ceiling = self.reading != "floor"
            changed = "ceilings became floors" if ceiling else "floors became ceilings"
            notes.append(
                f"{_count(flipped)} capping vectors point from the Assistant to the roles (mean cosine with "
                f"the axis {cosines[flipped].mean():.2f}): reversed; {changed}, caps changed sign"
                + self._percentiles()
            )
        if along.any():
            meaning = {
                "auto": "caps are read as the floors of the paper's equation, not as the ceilings of the released "
                'code (operation="ceiling")',
                "ceiling": "caps are read as ceilings, as told",
                "floor": "caps are read as floors, as told",
            }[self.reading]
            notes.append(
                f"{_count(along)} capping vectors point to the Assistant (mean cosine with the axis "
                f"{cosines[along].mean():.2f}): {meaning}"
            )
        if lost:
            read = (
                "experiments with them are refused"
                if self.reading == "auto"
                else f"read as {self.reading}s along the vector as stored, as told"
            )
            notes.append(
                f"{len(lost)} capping vectors lie neither along nor against the axis, such as {lost[0]}: {read}"
            )
        if self.skipped:
            first, count = next(iter(self.skipped.items()))
            notes.append(
                f"{len(self.skipped)} experiments have interventions without a cap, such as {first} ({count}): "
                "passed over, as in the released code"
            )
        return tuple(notes)

    def _percentiles(self) -> str:
        found = {match[1] for match in map(_PERCENTILE.search, self.experiments) if match}
        parts = [f"p{text} is percentile {100 * (1 - float(text)):g}" for text in sorted(found)]
        return f"; towards the Assistant, {', '.join(parts)}" if parts else ""


@dataclass
class _Group:
    """Caps of one kind along one direction, each at its own layer."""

    kind: type[Floor] | type[Ceil]
    name: str
    sinks: bool
    origin: Origin | None
    layers: list[int]
    values: list[np.ndarray]
    thresholds: list[float]

    def takes(self, what: tuple[type, str, bool], layer: int) -> bool:
        return what == (self.kind, self.name, self.sinks) and layer not in self.layers

    def add(self, vector: CappingVector, cap: float) -> None:
        sign = -1.0 if vector.reversed else 1.0
        self.layers.append(vector.layer)
        self.values.append(sign * vector.values)
        self.thresholds.append(sign * cap)

    def operation(self) -> Floor | Ceil:
        direction = Direction(
            self.name, tuple(self.layers), np.stack(self.values), origin=self.origin
        )
        return self.kind(direction, thresholds=np.array(self.thresholds))


def percentile_of(experiment: str) -> float | None:
    """The percentile along the stored vectors that the id of an experiment names.

    Examples:
        >>> percentile_of("layers_46:54-p0.25"), percentile_of("mine") is None
        (25.0, True)
    """
    match = _PERCENTILE.search(experiment)
    return None if match is None else 100 * float(match[1])


def read_capping_config(
    path: Path, axis: Direction | None, *, operation: Reading = "auto"
) -> CappingConfig:
    """Read the file and hold its vectors against the axis.

    Args:
        path: `capping_config.pt`.
        axis: The Assistant Axis, Assistant-positive. Without it no vector is turned, and `auto` is what the
            released code does whichever way a vector points: a ceiling along it as stored.
        operation: As `reading` of `CappingConfig`. A file of `write_capping_config` says itself what it is.

    Raises:
        InterventionError: The file has another layout, or belongs to another model.
        SpaceError: It is missing or damaged.
    """
    if operation not in ("auto", "ceiling", "floor"):
        raise InterventionError(
            "unknown way to read caps", expected="auto, ceiling or floor", given=operation
        )
    content = read_torch(path)
    try:
        if not isinstance(content, Mapping):
            raise TypeError(f"it holds a {type(content).__name__}")
        vectors = {
            str(key): _vector(str(key), entry, axis, path)
            for key, entry in content["vectors"].items()
        }
        listed = {str(entry["id"]): entry["interventions"] for entry in content["experiments"]}
        experiments = {
            name: tuple(
                Cap(str(cap["vector"]), float(cap["cap"]), cap.get("sinks") is True)
                for cap in caps
                if cap.get("cap") is not None
            )
            for name, caps in listed.items()
        }
        lacking = {name: len(caps) - len(experiments[name]) for name, caps in listed.items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InterventionError(
            f"{path.name} is no capping configuration: {error}",
            expected='{"vectors": {key: {"vector", "layer"}}, '
            '"experiments": [{"id", "interventions": [{"vector", "cap"}]}]}',
            given=path,
        ) from error
    unknown = {cap.vector for caps in experiments.values() for cap in caps} - set(vectors)
    if unknown:
        raise InterventionError(
            f"{path.name} caps along vectors it does not hold", given=", ".join(sorted(unknown)[:3])
        )
    if operation == "auto" and (axis is None or content.get("operation") == "ceiling"):
        operation = "ceiling"
    skipped = {name: count for name, count in lacking.items() if count}
    origin = None if axis is None else axis.origin
    return CappingConfig(vectors, experiments, operation, skipped, origin)


def _vector(
    key: str, entry: Mapping[str, Any], axis: Direction | None, path: Path
) -> CappingVector:
    values = as_array(entry["vector"], ndim=1, source=path, what=f"vector {key}")
    layer = int(entry["layer"])
    if axis is None:
        return CappingVector(key, layer, values, 0.0)
    if len(values) != axis.d_model:
        raise InterventionError(
            f"{path.name} belongs to another model than the axis",
            expected=f"vectors of width {axis.d_model}",
            given=len(values),
        )
    length = float(np.linalg.norm(values.astype(np.float64)))
    cosine = 0.0
    if layer in axis.layers and length > 0:
        cosine = float(values @ axis.units[axis.index(layer)] / length)
    return CappingVector(key, layer, values, cosine)


def _name(vector: CappingVector) -> str:
    return "assistant" if vector.oriented else vector.key.rpartition("/")[2]


def _count(chosen: np.ndarray) -> str:
    return f"all {len(chosen)}" if chosen.all() else f"{int(chosen.sum())} of {len(chosen)}"
