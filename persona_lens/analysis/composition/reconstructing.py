"""Rebuild every role from few traits, held out, against controls, at every layer.

    result = reconstruct(space)
    result.frame                     # R² by layer, number of traits, method and dictionary
    result.gain()                    # traits minus random directions of the roles' own space
    result.plot()

The target is the full centred role vector, not its scores on a few components: cosines with 240 traits are a
nearly complete basis, so that reading component scores off them succeeds whatever the traits are.

Held out "questions": atoms and weights come from one half of the questions, both the role and the dictionary, and
are scored on the role's vector from the other half. Held out "roles": besides, one set of k atoms is chosen for
all roles on four fifths of them (simultaneous OMP), and scored on the others, whose weights come from one half.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from threadpoolctl import threadpool_limits

from persona_lens.analysis.composition.dictionaries import (
    MATCHED,
    PCS,
    RANDOM,
    SHUFFLED,
    TRAITS,
    Dictionary,
    random_atoms,
    shuffled_atoms,
)
from persona_lens.analysis.composition.halves import halves, known_folds, question_halves, rows_of
from persona_lens.analysis.composition.reconstruction import Reconstruction
from persona_lens.analysis.composition.sides import (
    Found,
    HeldOut,
    Method,
    Products,
    Reference,
    Side,
)
from persona_lens.errors import SpaceError
from persona_lens.progress import StageProgress
from persona_lens.statistics import draw_counts, interval_of

if TYPE_CHECKING:
    from persona_lens.space import Space
    from persona_lens.vectors.table import VectorTable

METHODS: tuple[Method, ...] = ("omp", "nnls", "lasso")

_SLOW_SHARE = 10
"""One in so many draws of a control is also approximated by the methods that take long."""


def reconstruct(
    space: Space,
    *,
    layers: Sequence[int] | None = None,
    ks: Iterable[int] = range(1, 21),
    methods: Sequence[Method] = METHODS,
    n_random: int = 20,
    n_halvings: int = 4,
    n_role_folds: int = 5,
    n_draws: int = 200,
    seed: int = 0,
    progress: bool = True,
) -> Reconstruction:
    """How much of held-out role vectors few traits explain, and controls with as many directions to choose from.

    Args:
        space: With traits, and with folds of the questions.
        layers: Blocks; all by default.
        ks: Numbers of traits.
        methods: `omp`, `nnls` (weights >= 0) and `lasso`. Principal components are taken in order and stand under
            `omp`; so does what is held out over roles.
        n_random: Draws of each random control, spread over the halvings; fewer for the slow methods.
        n_halvings: Ways to halve the questions; there may be fewer. Both halves are learnt from in turn.
        n_role_folds: Parts of the roles, each held out once.
        n_draws: Bootstrap samples over roles and halves.
        seed: Of everything that is drawn.
        progress: Show a progress bar.

    Raises:
        SpaceError: No folds, no traits, too few roles, a layer that is not there, or unknown methods or sizes.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> space = PersonaSpace.load("smollm2-135m-instruct")
        >>> options = {"ks": [2], "methods": ["omp"], "n_random": 2, "progress": False}
        >>> sorted(set(reconstruct(space, layers=[15], **options).frame["held_out"]))
        ['questions', 'roles']
    """
    table = space.table
    roles, traits = rows_of(table)
    wanted = sorted({int(k) for k in ks})
    unknown = set(methods) - set(METHODS)
    if unknown or not wanted or wanted[0] < 1:
        raise SpaceError(
            "no such reconstruction",
            expected=f"sizes from 1 on, by {', '.join(METHODS)}",
            given=f"sizes {wanted}, methods {', '.join(methods)}",
        )
    splits = question_halves(known_folds(table).shape[1], n_halvings, seed)
    sizes = [k for k in wanted if k <= len(traits)]
    design = Design(
        table=table,
        roles=roles,
        traits=traits,
        splits=splits,
        parts=_parts(len(roles), n_role_folds, seed),
        sizes=np.array(sizes, dtype=np.int64),
        methods=tuple(methods),
        n_random=n_random,
        n_draws=n_draws,
        seed=seed,
    )
    chosen = tuple(table.layers if layers is None else layers)
    places = [space.layer_index(layer) for layer in chosen]
    bar = StageProgress("Rebuilding roles", len(places), shown=progress, unit="layers")
    # A thread a layer and one BLAS thread each: products of this size do not scale over cores.
    with bar.running(), threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(bar.counted(pool.map(design.layer, places)))
    card = {
        "model": table.card.get("reader", {}).get("model"),
        "roles": len(roles),
        "traits": len(traits),
        "question_folds": splits.shape[1],
        "halvings": len(splits),
        "role_folds": n_role_folds,
        "random_draws": n_random,
        "seed": seed,
    }
    return Reconstruction(
        frame=pd.concat([frame for frame, _ in found], ignore_index=True),
        roles=_categories(pd.concat([frame for _, frame in found], ignore_index=True)),
        card=card,
    )


@dataclass
class Tally:
    """What one method and dictionary gave: one entry for each half and draw.

    Attributes:
        errors: |y - x̂|².
        along: <x̂, y>.
        references: What they are compared with.
    """

    errors: list[Float[np.ndarray, "role size"]] = field(default_factory=list)
    along: list[Float[np.ndarray, "role size"]] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)

    def enter(
        self, products: Products, reference: Reference, sizes: Int[np.ndarray, " size"]
    ) -> None:
        """Note the sizes wanted, as far as there are atoms."""
        kept = sizes[sizes <= products[0].shape[1]] - 1
        along, squares = products[0][:, kept], products[1][:, kept]
        self.errors.append(reference.norms[:, None] - 2 * along + squares)
        self.along.append(along)
        self.references.append(reference)


@dataclass(frozen=True, eq=False)
class Design:
    """What is compared with what; `layer` measures one layer.

    Attributes:
        table: The vectors.
        roles, traits: Their rows.
        splits: First halves of the questions.
        parts: The part in which each role is held out.
        sizes: Numbers of atoms, growing.
        methods, n_random, n_draws, seed: See `reconstruct`.
    """

    table: VectorTable
    roles: list[int]
    traits: list[int]
    splits: Bool[np.ndarray, "halving fold"]
    parts: Int[np.ndarray, " role"]
    sizes: Int[np.ndarray, " k"]
    methods: tuple[Method, ...]
    n_random: int
    n_draws: int
    seed: int

    def layer(self, place: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The rows of one layer: over all roles, and of each."""
        tallies: dict[tuple[HeldOut, Dictionary, Method], Tally] = {}
        sides = halves(self.table, self.roles, self.traits, place, self.splits)
        for unit, half in enumerate(sides):
            side = Side(half, self.parts, self.methods, int(self.sizes[-1]))
            draws = range(unit // 2, self.n_random, len(self.splits))
            for dictionary, found in self._measured(side, draws):
                for (held_out, method), products in found.items():
                    tally = tallies.setdefault((held_out, dictionary, method), Tally())
                    tally.enter(products, side.references[held_out], self.sizes)
        rng = np.random.default_rng((self.seed, place))
        pairs = [self._frames(place, key, tally, rng) for key, tally in tallies.items()]
        return pd.concat([whole for whole, _ in pairs]), pd.concat([each for _, each in pairs])

    def _measured(self, side: Side, draws: range) -> Iterator[tuple[Dictionary, Found]]:
        """Every dictionary in turn; a control as often as it is drawn."""
        traits = side.half.traits
        n_atoms, d_model = traits.shape
        yield TRAITS, side.of_atoms(traits, slow=True)
        yield PCS, side.of_components()
        for draw in draws:
            slow = draw * _SLOW_SHARE < self.n_random
            # The same draw at every layer and in both halves.
            rngs = [
                np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(draw, kind)))
                for kind in range(3)
            ]
            yield RANDOM, side.of_atoms(random_atoms(n_atoms, d_model, rngs[0]), slow=slow)
            drawn = rngs[1].standard_normal((n_atoms, len(self.roles)))
            yield MATCHED, side.of_mixtures(drawn, slow=slow)
            yield SHUFFLED, side.of_atoms(shuffled_atoms(*side.coordinates, rng=rngs[2]), slow=slow)

    def _frames(
        self,
        place: int,
        key: tuple[HeldOut, Dictionary, Method],
        tally: Tally,
        rng: np.random.Generator,
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Both measures of each size with their intervals, and the means of each role."""
        errors, along = np.stack(tally.errors), np.stack(tally.along)
        norms, repeats, misses = (
            np.stack([getattr(each, name) for each in tally.references])
            for name in ("norms", "repeats", "misses")
        )
        n_units, n_roles, n_sizes = errors.shape
        units = draw_counts(n_units, self.n_draws, rng)
        roles = draw_counts(n_roles, self.n_draws, rng)

        def drawn(values: np.ndarray) -> np.ndarray:
            of_units = (units @ values.reshape(n_units, -1)).reshape(-1, *values.shape[1:])
            return np.einsum("dr,dr...->d...", roles, of_units)

        r2 = 1 - drawn(errors) / drawn(norms)[:, None]
        share = drawn(along) / drawn(repeats)[:, None]
        known = np.flatnonzero(norms.any(axis=0))
        held_out, dictionary, method = key
        about = {"layer": self.table.layers[place], "held_out": held_out}
        about |= {"dictionary": dictionary, "method": method}
        whole = pd.DataFrame(
            {
                **about,
                "k": self.sizes[:n_sizes],
                "r2": 1 - errors.sum(axis=(0, 1)) / norms.sum(),
                **_ends("", r2),
                "share": along.sum(axis=(0, 1)) / repeats.sum(),
                **_ends("share_", share),
                "n": len(known),
                "ceiling": 1 - misses.sum() / norms.sum(),
                "signal": repeats.sum() / norms.sum(),
            }
        )
        counts = (norms > 0).sum(axis=0)[known]
        names = np.array([self.table.names[row] for row in self.roles], dtype=object)[known]
        means = {
            "error": (errors.sum(axis=0)[known] / counts[:, None]).ravel(),
            "along": (along.sum(axis=0)[known] / counts[:, None]).ravel(),
            "norm": np.repeat(norms.sum(axis=0)[known] / counts, n_sizes),
            "repeats": np.repeat(repeats.sum(axis=0)[known] / counts, n_sizes),
        }
        each = pd.DataFrame(
            {
                **about,
                "role": np.repeat(names, n_sizes),
                "k": np.tile(self.sizes[:n_sizes].astype(np.int16), len(known)),
                **{name: values.astype(np.float32) for name, values in means.items()},
            }
        )
        each["r2"] = 1 - each["error"] / each["norm"]
        return whole, _categories(each)


def _ends(prefix: str, draws: Float[np.ndarray, "draw size"]) -> dict[str, list[float]]:
    intervals = [interval_of(column) for column in draws.T]
    return {
        f"{prefix}low": [interval.low for interval in intervals],
        f"{prefix}high": [interval.high for interval in intervals],
    }


def _parts(n_roles: int, n_parts: int, seed: int) -> Int[np.ndarray, " role"]:
    if not 2 <= n_parts <= n_roles:
        raise SpaceError("roles cannot be parted", expected=f"2 to {n_roles} parts", given=n_parts)
    return np.random.default_rng(seed).permutation(n_roles) % n_parts


def _categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Names of which there are few, kept once each: the frame of the roles has millions of rows."""
    names = [name for name in ("held_out", "dictionary", "method", "role") if name in frame]
    return frame.astype(dict.fromkeys(names, "category"))
