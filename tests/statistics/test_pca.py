"""Components against scikit-learn, for every scaling and shape."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from persona_lens import PersonaSpace
from persona_lens.statistics.pca import Spectrum

SHAPES = [(30, 64), (12, 200), (60, 20)]  # fewer and more vectors than dimensions


def vectors(n_roles: int, d_model: int, n_layers: int = 2, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spectrum = np.geomspace(10, 0.5, min(n_roles, d_model))
    left = rng.normal(size=(n_layers, n_roles, len(spectrum)))
    right = rng.normal(size=(n_layers, len(spectrum), d_model))
    return np.einsum("lvk,k,lkd->vld", left, spectrum, right) + rng.normal(size=d_model) * 5


def space_of(roles: np.ndarray, **parameters) -> PersonaSpace:
    default = roles.mean(0) + np.random.default_rng(9).normal(size=roles.shape[1:])
    named = {f"role_{index}": role for index, role in enumerate(roles)}
    return PersonaSpace.from_vectors(named, default, n_resamples=20, **parameters).fit()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scaling", ["center", "zscore", "l2"])
def test_agrees_with_scikit_learn(shape: tuple[int, int], scaling: str) -> None:
    roles = vectors(*shape).astype(np.float32)
    space = space_of(roles, scaling=scaling)
    first = {"center": FunctionTransformer(), "zscore": StandardScaler(), "l2": Normalizer()}[
        scaling
    ]
    for layer in range(2):
        reference = make_pipeline(first, PCA(svd_solver="full")).fit(
            roles[:, layer].astype(np.float64)
        )
        pca = reference[-1]
        rank = min(shape[0] - 1, shape[1])
        np.testing.assert_allclose(
            space.explained_variance_ratio_[layer], pca.explained_variance_ratio_[:rank], atol=1e-6
        )
        kept = len(space.components_[layer])
        cosines = (space.components_[layer] * pca.components_[:kept]).sum(1)
        np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-5)
        scores = reference.transform(roles[:, layer].astype(np.float64))[:, :kept] * np.sign(
            cosines
        )
        ours = space.transform(roles[:, layer], layer)
        np.testing.assert_allclose(ours, scores, rtol=1e-5, atol=1e-5 * np.abs(scores).max())


def test_the_variances_are_those_of_scikit_learn_and_sum_to_the_whole() -> None:
    data = vectors(20, 50, 1)[:, 0]
    centred = data - data.mean(0)
    spectrum = Spectrum.of_gram(centred @ centred.T, d_model=50)
    components, variances = spectrum.components(centred, 5), spectrum.squares / 19
    np.testing.assert_allclose(variances, PCA(svd_solver="full").fit(data).explained_variance_[:19])
    np.testing.assert_allclose(variances.sum(), centred.var(0, ddof=1).sum())
    np.testing.assert_allclose(components @ components.T, np.eye(5), atol=1e-10)


def test_identical_vectors_have_no_components_but_do_not_break() -> None:
    spectrum = Spectrum.of_gram(np.zeros((4, 4)), d_model=6)
    assert np.isfinite(spectrum.components(np.zeros((4, 6)), 2)).all()
    np.testing.assert_array_equal(spectrum.squares, 0)


def test_the_components_point_along_the_axis() -> None:
    space = space_of(vectors(30, 64))
    for layer in range(2):
        axis = space.default_[layer] - space.role_mean_[layer]
        assert (space.components_[layer] @ axis >= -1e-6).all()


def test_components_needed_for_70_percent() -> None:
    space = space_of(vectors(30, 64))
    for layer in range(2):
        needed = space.n_components_70_[layer]
        cumulated = space.explained_variance_ratio_[layer].cumsum()
        assert cumulated[needed - 1] >= 0.7 > (cumulated[needed - 2] if needed > 1 else 0)
