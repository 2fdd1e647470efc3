"""Neuronpedia's axes: a folder with `axis.yaml` and `axis.safetensors`.

    axis = read_neuronpedia_axis("lu_assistant-axis")
    axis.values(residuals)  # what its panel shows
    plan = Plan.of(Floor(axis.direction, thresholds=axis.threshold(0.0)))

An axis reads the mean residual vector `x` of a turn at one layer:

    raw = <x - scaler_mean, made a unit vector where normalize is "l2", - pca_mean, direction>
    d = raw - center;    value = d / scale_pos where d >= 0, else d / scale_neg

and is positive towards its positive pole. The layout is that of the server's source of August 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float

from persona_lens.arrays import as_floats
from persona_lens.contents import check_content
from persona_lens.errors import InterventionError
from persona_lens.files import read_tensors, whole_or_nothing, write_tensors
from persona_lens.interventions import Direction

_TABLES = ("quantile_levels", "quantiles_pos", "quantiles_neg")
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class NeuronpediaAxis:
    """One axis and how it is read.

    Attributes:
        direction: At one layer, towards the positive pole, at the length that readings are made with.
        author: Who fitted it; the format asks for it.
        poles: What the negative and the positive end mean; empty where nobody says.
        center: Raw reading that is shown as 0.
        scales: Divisors below and above the center.
        scaler_mean: Taken from the residual vector first; zeros by default.
        pca_mean: Taken from it next; zeros by default.
        normalize: Whether it is made a unit vector between the two: "l2" or "none".
        blank_system_prompt: Whether it was fitted with an empty system message.
        template_kwargs: Variables of the chat template it was fitted with.
        caveat: What to know before it is believed.
        quantiles: Levels, and the distances from the center at them above and below it; None without.

    Raises:
        InterventionError: More than one layer, means of another width, or a divisor of zero.

    Examples:
        >>> ghost = Direction("ghost", (4,), np.array([[0.0, 2.0]]))
        >>> axis = NeuronpediaAxis(ghost, center=1.0, scales=(2.0, 4.0))
        >>> axis.values(np.array([[9.0, 4.5], [9.0, 0.0]])), axis.threshold(2.0)
        (array([ 2. , -0.5]), 4.5)
    """

    direction: Direction
    author: str = "persona-lens"
    poles: tuple[str, str] = ("role-playing", "assistant-like")
    center: float = 0.0
    scales: tuple[float, float] = (1.0, 1.0)
    scaler_mean: Float[np.ndarray, " d_model"] | None = None
    pca_mean: Float[np.ndarray, " d_model"] | None = None
    normalize: str = "none"
    blank_system_prompt: bool = False
    template_kwargs: Mapping[str, str] = field(default_factory=dict)
    caveat: str | None = None
    quantiles: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def __post_init__(self) -> None:
        width = self.direction.d_model
        if len(self.direction.layers) != 1:
            raise InterventionError(
                "an axis of Neuronpedia is of one layer",
                given=f"{len(self.direction.layers)} layers",
                remedy="choose one: direction.at([layer])",
            )
        for name in ("scaler_mean", "pca_mean"):
            given = getattr(self, name)
            mean = np.zeros(width) if given is None else given
            mean = as_floats(mean, name, error=InterventionError, dtype=np.float64)
            if mean.shape != (width,):
                raise InterventionError(
                    f"{name} does not fit the direction",
                    expected=f"[{width}]",
                    given=list(mean.shape),
                )
            object.__setattr__(self, name, mean)
        if 0.0 in self.scales or self.normalize not in ("none", "l2"):
            raise InterventionError(
                "this axis cannot be read",
                expected='divisors other than zero, and normalize "none" or "l2"',
                given=f"scales {self.scales}, normalize {self.normalize!r}",
            )

    @property
    def layer(self) -> int:
        """Block after which it reads."""
        return self.direction.layers[0]

    def values(self, residuals: Float[np.ndarray, "*turn d_model"]) -> Float[np.ndarray, "*turn"]:
        """Readings of residual vectors, mean over the tokens of a turn each.

        Args:
            residuals: After the block `layer`.
        """
        x = as_floats(residuals, "residuals", error=InterventionError, dtype=np.float64)
        x = x - self.scaler_mean
        if self.normalize == "l2":
            x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), _TINY)
        distance = (x - self.pca_mean) @ self.direction.values[0].astype(np.float64) - self.center
        return np.where(distance >= 0, distance / self.scales[1], distance / self.scales[0])

    def threshold(self, value: float) -> float:
        """The projection on the unit vector that reads as `value`: what floors and ceilings are given.

        Raises:
            InterventionError: The axis makes unit vectors first, so that no one projection is that reading.
        """
        if self.normalize != "none":
            raise InterventionError(
                "this axis reads vectors at length one, so a reading is no projection",
                expected='an axis with normalize "none"',
                remedy="calibrate a threshold on the model: space.floor(percentile=...)",
            )
        raw = value * self.scales[1 if value >= 0 else 0] + self.center
        vector = self.direction.values[0].astype(np.float64)
        raw += float(np.add(self.scaler_mean, self.pca_mean) @ vector)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return raw / float(self.direction.lengths[0])


def write_neuronpedia_axis(axis: NeuronpediaAxis, folder: str | Path) -> Path:
    """Write `axis.safetensors` and `axis.yaml`; the second comes last, so that a folder with it is whole.

    Examples:
        >>> import tempfile
        >>> axis = NeuronpediaAxis(Direction("assistant", (4,), np.array([[0.0, 2.0]])), center=1.5)
        >>> again = read_neuronpedia_axis(write_neuronpedia_axis(axis, tempfile.mkdtemp()))
        >>> again.layer, again.center, again.poles
        (4, 1.5, ('role-playing', 'assistant-like'))
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "axis.yaml"
    manifest.unlink(missing_ok=True)
    tensors = {
        "direction": axis.direction.values[0],
        "scaler_mean": np.asarray(axis.scaler_mean, np.float32),
        "pca_mean": np.asarray(axis.pca_mean, np.float32),
    }
    for name, table in zip(_TABLES, axis.quantiles or (), strict=False):
        tensors[name] = np.asarray(table, np.float32)
    write_tensors(folder / "axis.safetensors", tensors)
    content: dict[str, Any] = {
        "author": axis.author,
        "pole_negative": axis.poles[0],
        "pole_positive": axis.poles[1],
        "layer": axis.layer,
        "normalize": axis.normalize,
        "center": float(axis.center),
        "scale_neg": float(axis.scales[0]),
        "scale_pos": float(axis.scales[1]),
        "render": {
            "blank_system_prompt": axis.blank_system_prompt,
            "template_kwargs": dict(axis.template_kwargs),
        },
    }
    if not all(axis.poles):  # it takes poles, or a title
        content["title"] = axis.direction.name
    if axis.caveat:
        content["caveat"] = axis.caveat
    with whole_or_nothing(manifest) as partial:
        partial.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
    return folder


def read_neuronpedia_axis(folder: str | Path, *, name: str = "assistant") -> NeuronpediaAxis:
    """Read an axis.

    Args:
        folder: With `axis.yaml` and `axis.safetensors`.
        name: What the direction points to: the positive pole of that axis, in a word.

    Raises:
        InterventionError: Either file is missing, damaged or of another layout.
    """
    folder = Path(folder)
    content = read_manifest(folder / "axis.yaml")
    try:
        tensors = read_tensors(folder / "axis.safetensors", InterventionError)
        shared = float(content.get("scale", 1.0))
        render = content.get("render") or {}
        found = [tensors[table] for table in _TABLES if table in tensors]
        if len(found) not in (0, 3):
            raise KeyError("quantile tables")
        return NeuronpediaAxis(
            Direction(name, (int(content["layer"]),), tensors["direction"][None]),
            author=str(content["author"]),
            poles=_poles(content),
            center=float(content.get("center", 0.0)),
            scales=(
                float(content.get("scale_neg", shared)),
                float(content.get("scale_pos", shared)),
            ),
            scaler_mean=tensors["scaler_mean"],
            pca_mean=tensors["pca_mean"],
            normalize=str(content.get("normalize", "none")),
            blank_system_prompt=bool(render.get("blank_system_prompt", False)),
            template_kwargs={
                str(k): str(v) for k, v in (render.get("template_kwargs") or {}).items()
            },
            caveat=str(content["caveat"]) if content.get("caveat") else None,
            quantiles=(found[0], found[1], found[2]) if found else None,
        )
    except FileNotFoundError as error:
        raise InterventionError("no axis.safetensors here", given=folder) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InterventionError(
            f"{folder.name} holds no axis of Neuronpedia: {error!r}",
            expected="author and layer in axis.yaml; direction, scaler_mean and pca_mean in axis.safetensors",
        ) from error


def _poles(content: Mapping[str, Any]) -> tuple[str, str]:
    """Negative and positive; older manifests have them in the title alone, as `- this <-> + that`."""
    poles = tuple(str(content.get(key) or "").strip() for key in ("pole_negative", "pole_positive"))
    if not any(poles):
        low, arrow, high = str(content.get("title") or "").partition("\u2194")
        if arrow:
            poles = (low.strip(" -"), high.strip(" +\ufe0f"))
    return poles[0], poles[1]


def read_manifest(path: Path) -> Mapping[str, Any]:
    """The settings in a YAML file.

    Raises:
        InterventionError: It is missing, damaged or holds none.
    """
    if not path.is_file():
        raise InterventionError(f"no {path.name} here", given=path.parent)
    check_content(path, InterventionError)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InterventionError(f"{path.name} is damaged or no YAML", given=path) from error
    if not isinstance(content, Mapping):
        raise InterventionError(f"{path.name} holds no settings", given=type(content).__name__)
    return content
