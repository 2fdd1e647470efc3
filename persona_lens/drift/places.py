"""Where a reply lies: coordinates along directions at some layers, how sure they are, which roles are near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from persona_lens.model.segments import Segments
from persona_lens.space.calibration import POPULATIONS
from persona_lens.space.directions import CalibratedDirections
from persona_lens.space.space import Space
from persona_lens.statistics.pca import unit
from persona_lens.statistics.serial import serial_margin

NEAREST = 3


@dataclass(frozen=True, eq=False)
class Places:
    """What a space says of residual vectors at some layers.

    Attributes:
        layers: Blocks.
        along: The directions at these layers.
        means, deviations: Of single replies of the default and of the roles along them; NaN where not known.
        role_names: Roles that may be near.
        roles: Their unit directions from the mean of the roles.
        role_mean: That mean.
    """

    layers: tuple[int, ...]
    along: CalibratedDirections
    means: Float[np.ndarray, "population layer direction"]
    deviations: Float[np.ndarray, "population layer direction"]
    role_names: tuple[str, ...]
    roles: Float[np.ndarray, "layer role d_model"]
    role_mean: Float[np.ndarray, "layer d_model"]

    @classmethod
    def of(cls, space: Space, layers: Sequence[int], names: Sequence[str]) -> Places:
        """Those of a fitted space.

        Raises:
            SpaceError: Not fitted, a layer it does not cover, or a name it does not know.
        """
        views = [space.at(layer) for layer in layers]
        held = [view.place for view in views]
        everywhere = space.calibrated_directions(tuple(names))
        wanted = tuple(dict.fromkeys(space.named(name).name for name in names))
        which = [everywhere.names.index(name) for name in wanted]
        rows = space.table.axis_rows()
        return cls(
            layers=tuple(view.layer for view in views),
            along=CalibratedDirections(
                wanted,
                everywhere.units[held][:, which],
                everywhere.gains[held][:, which],
                everywhere.offsets[held][:, which],
            ),
            means=_known(space, "means", held, wanted),
            deviations=_known(space, "deviations", held, wanted),
            role_names=tuple(space.table.titles()[row] for row in rows),
            roles=np.stack([view.directions(rows) for view in views]),
            role_mean=np.stack([space.role_mean_[place] for place in held]),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the directions."""
        return self.along.names

    @property
    def units(self) -> Float[np.ndarray, "layer direction d_model"]:
        """The directions at unit length."""
        return self.along.units

    def turn(self, segments: Segments, number: int) -> dict[str, np.ndarray]:
        """One reply: columns with a row for each layer and direction."""
        mean, start = _mean(segments, 2 * number), _mean(segments, 2 * number + 1)
        values = self.along.coordinates(mean[None])[0]
        tokens = segments.tokens[2 * number] if 2 * number < len(segments.tokens) else np.empty(0)
        margins = np.full(values.shape, np.nan)
        if len(tokens):
            margins = np.abs(self.along.gains) * serial_margin(tokens)
        z = (values - self.means) / self.deviations
        near = self.nearest(mean)
        return self._columns(
            projection=values,
            low=values - margins,
            high=values + margins,
            z_default=z[0],
            z_roles=z[1],
            start=self.along.coordinates(start[None])[0],
            tokens=np.full(values.shape, len(tokens)),
            nearest=_repeated([", ".join(names) for names, _ in near], values.shape),
            nearest_cosine=np.repeat([cosine for _, cosine in near], values.shape[1]),
        )

    def tokens(
        self, segments: Segments, number: int, words: Sequence[str]
    ) -> list[dict[str, np.ndarray]]:
        """Each token of a reply: columns with a row for each layer and direction."""
        values = self.along.from_projections(segments.tokens[2 * number]) if words else []
        return [
            self._columns(
                place=np.full(value.shape, place),
                token=np.full(value.shape, word, dtype=object),
                projection=value,
            )
            for place, (value, word) in enumerate(zip(values, words, strict=True))
        ]

    def _columns(self, **columns: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "layer": np.repeat(self.layers, len(self.names)),
            "direction": np.tile(np.array(self.names, dtype=object), len(self.layers)),
            **{name: np.asarray(values).reshape(-1) for name, values in columns.items()},
        }

    def nearest(self, mean: Float[np.ndarray, "layer d_model"]) -> list[tuple[list[str], float]]:
        """At each layer the closest roles, and the cosine with the first of them; none of a mean that is NaN."""
        if not np.isfinite(mean).all():
            return [([], np.nan)] * len(self.layers)
        cosines = np.einsum("lrd,ld->lr", self.roles, unit(mean - self.role_mean))
        best = np.argsort(-cosines, axis=1)[:, :NEAREST]
        return [
            ([self.role_names[role] for role in own], float(cosine[own[0]]))
            for own, cosine in zip(best, cosines, strict=True)
        ]


def _mean(segments: Segments, number: int) -> Float[np.ndarray, "layer d_model"]:
    """The mean of a stretch; NaN where there is none."""
    if number < len(segments.means):
        return segments.means[number].astype(np.float64)
    return np.full(segments.means.shape[1:], np.nan)


def _known(
    space: Space, what: str, held: Sequence[int], names: Sequence[str]
) -> Float[np.ndarray, "population layer direction"]:
    """What the calibration knows of single replies of the default and the roles."""
    calibration = space.calibration_
    found = np.full((2, len(held), len(names)), np.nan)
    if calibration is None:
        return found
    populations = [POPULATIONS.index("default"), POPULATIONS.index("role")]
    for place, name in enumerate(names):
        if name in calibration.directions:
            which = calibration.directions.index(name)
            found[:, :, place] = getattr(calibration, what)[populations][:, held, which]
    return found


def _repeated(values: Sequence[object], shape: tuple[int, ...]) -> np.ndarray:
    """The same for all directions of a layer."""
    return np.repeat(np.array(values, dtype=object), shape[1])
