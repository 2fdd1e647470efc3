"""The vectors in a release's files, in the layout of the published dataset or of the paper's pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from persona_lens.errors import SpaceError
from persona_lens.interop.capping_config import MIN_COSINE
from persona_lens.interop.torch_files import as_array, read_torch
from persona_lens.statistics.pca import unit

Vector = Float[np.ndarray, "layer d_model"]

AXIS_FILES = ("assistant_axis.pt", "axis.pt")


def looks_like_release(folder: Path) -> bool:
    """Whether a folder holds an axis or a default vector by one of their names."""
    names = (*AXIS_FILES, "default_vector.pt", "vectors/default.pt")
    return any((folder / name).is_file() for name in names)


def read_roles(folder: Path) -> tuple[Vector | None, dict[str, Vector]]:
    """Default and roles; what is called default, or averaged over all replies, is a default."""
    defaults: list[Vector] = []
    roles: dict[str, Vector] = {}
    if (folder / "default_vector.pt").is_file():
        defaults.append(_read_vector(folder / "default_vector.pt")[1])
    for place in ("role_vectors", "vectors"):
        for name, vector, of_all in read_vectors(folder / place):
            if name == "default" or of_all:
                defaults.append(vector)
            else:
                roles[name] = vector
    if len({vector.shape for vector in defaults}) > 1:
        raise SpaceError(
            "default vectors differ in shape", given=sorted({v.shape for v in defaults})
        )
    return (np.asarray(np.mean(defaults, axis=0)) if defaults else None), roles


def read_vectors(folder: Path) -> list[tuple[str, Vector, bool]]:
    """Name, vector, and whether it was averaged over all replies, of each file in a folder; by file name."""
    return [_read_vector(file) for file in sorted(folder.glob("*.pt"))]


def _read_vector(file: Path) -> tuple[str, Vector, bool]:
    """A vector out of a file: a tensor, tensors by layer, or a dict with its name and how it was averaged."""
    content = read_torch(file)
    if not isinstance(content, Mapping):
        return file.stem, as_array(content, ndim=2, source=file), False
    vector = as_array(content.get("vector", content), ndim=2, source=file)
    return str(content.get("role", file.stem)), vector, content.get("type") == "mean"


def _read_axis(folder: Path) -> tuple[str, Vector] | None:
    for name in AXIS_FILES:
        if (folder / name).is_file():
            return name, read_axis_file(folder / name)
    return None


def read_axis_file(file: Path) -> Vector:
    """The axis as stored: a tensor, or the "axis" of a dict.

    Raises:
        SpaceError: No such file, a damaged one, or one that holds no axis.
    """
    content = read_torch(file)
    held = content.get("axis") if isinstance(content, Mapping) else content
    return as_array(held, ndim=2, source=file, what="axis")


def check_shapes(roles: Mapping[str, Vector | None], traits: Mapping[str, Vector]) -> None:
    """Refuse vectors of more than one shape.

    Raises:
        SpaceError: They differ; the first name of each shape is told.
    """
    shapes: dict[tuple[int, ...], str] = {}
    for name, vector in (*roles.items(), *traits.items()):
        if vector is not None:
            shapes.setdefault(vector.shape, name)
    if len(shapes) > 1:
        raise SpaceError(
            "vectors of this release differ in shape",
            expected="all [n_layers, d_model] of one model",
            given=", ".join(f"{name} {list(shape)}" for shape, name in shapes.items()),
        )


def orient_axis(
    folder: Path, default: Vector | None, roles: Mapping[str, Vector]
) -> tuple[Vector, Float[np.ndarray, " layer"] | None, str]:
    """The axis pointing to the Assistant, its cosines with our own, and a sentence about it.

    Raises:
        SpaceError: There is nothing to make an axis of, or the file's is another direction than our own.
    """
    stored = _read_axis(folder)
    ours = None if default is None or not roles else default - mean_of(roles)
    if stored is None:
        if ours is None:
            raise SpaceError(
                f"nothing in {folder} tells where the Assistant is",
                expected="assistant_axis.pt, or default_vector.pt and role_vectors/",
            )
        return ours, None, "no file with the axis: it is default minus mean of the roles"
    file, axis = stored
    if ours is None:
        note = f"{file} is taken to point to the Assistant: there is no default or no role to check it with"
        return axis, None, note
    check_shapes({file: axis, "the other vectors": ours}, {})
    cosines = (unit(axis) * unit(ours)).sum(axis=1)
    middle = float(np.median(cosines))
    if abs(middle) < MIN_COSINE:
        raise SpaceError(
            f"{file} is another direction than default minus mean of the roles",
            expected="a cosine near 1, or near -1 if it points to the roles",
            given=f"{middle:.2f} at the median layer",
            remedy="check that all files are of one model; without this file the axis is computed",
        )
    spread = (
        f"cosine {cosines.min():.3f} to {cosines.max():.3f} over {len(cosines)} layers, up to "
        f"{_apart(axis * np.sign(middle), ours):.1%} of its length apart: the file's is the axis"
    )
    if middle < 0:
        return -axis, cosines, f"{file} points from the Assistant to the roles ({spread}): reversed"
    return (
        axis,
        cosines,
        f"{file} points to the Assistant, as default minus mean of the roles ({spread})",
    )


def mean_of(roles: Mapping[str, Vector]) -> Vector:
    """Mean of the roles, each counting once, float32."""
    total = sum(vector.astype(np.float64) for vector in roles.values())
    return np.asarray(total / len(roles), dtype=np.float32)


def _apart(axis: Vector, ours: Vector) -> float:
    """Largest distance of the two at a layer, over the length of the first; rows of zeros are left out."""
    lengths = np.linalg.norm(axis.astype(np.float64), axis=1)
    known = lengths > 0
    return float((np.linalg.norm(ours - axis, axis=1)[known] / lengths[known]).max(initial=0.0))
