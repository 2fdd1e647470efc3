"""Equal to scikit-learn, split by split, with replies missing here and there."""

from __future__ import annotations

import numpy as np
import pytest
from made_replies import made_replies, thinned
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score, silhouette_samples

from persona_lens.separability import Replies, Separability, measure


@pytest.fixture(scope="module")
def replies() -> Replies:
    return thinned(
        made_replies(
            n_prompts=3, n_questions=7, d_model=10, role_size=(1.0, 2.0), trait_gap=(1.0, 2.0),
            prompt_size=0.7, question_size=0.7, samples=2,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(replies: Replies) -> Separability:
    return measure(replies, n_shuffles=1, n_random=1)


def folds(replies: Replies) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and tested replies of each split of a grid of three prompt folds and six question folds."""
    splits = []
    for question in range(6):
        for prompt in range(3):
            same_question, same_prompt = replies.question % 6 == question, replies.prompt == prompt
            splits.append((~same_question & ~same_prompt, same_question & same_prompt))
    return splits


def tidy(scores: dict[tuple[str, int], list[float]], names: tuple[str, ...]) -> np.ndarray:
    return np.array([[np.mean(scores[name, fold]) for fold in range(6)] for name in names])


@pytest.mark.parametrize("kind", ["role", "trait"])
def test_identity_is_linear_discriminant_analysis(
    replies: Replies, found: Separability, kind: str
) -> None:
    classes = np.char.add(replies.unit, replies.side)
    other = replies.kind == ("default" if kind == "role" else "none")
    mine = (replies.kind == kind) | other
    names = found.names[kind]
    wanted = [name + ("positive" if kind == "trait" else "") for name in names]
    identity: dict[tuple[str, int], list[float]] = {(n, f): [] for n in names for f in range(6)}
    top: dict[tuple[str, int], list[float]] = {key: [] for key in identity}
    for train, test in folds(replies):
        probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
        probe.fit(replies.values[train & mine, 1], classes[train & mine])
        rows = np.flatnonzero(test & np.isin(classes, wanted))
        scores = probe.decision_function(replies.values[rows, 1]) - np.log(probe.priors_)
        scores = scores[:, [probe.classes_.tolist().index(name) for name in wanted]]
        for row, score in zip(rows, scores, strict=True):
            own = names.index(replies.unit[row])
            key = (names[own], int(replies.question[row] % 6))
            others = np.delete(score, own)
            identity[key].append((score[own] > others).mean())
            top[key].append(float(score[own] > others.max()))
    np.testing.assert_allclose(
        found.scores["identity", kind][..., 1], tidy(identity, names), atol=1e-6
    )
    np.testing.assert_allclose(
        found.scores["identity_top1", kind][..., 1], tidy(top, names), atol=1e-6
    )


def direction(
    replies: Replies, train: np.ndarray, plus: np.ndarray, minus: np.ndarray
) -> np.ndarray:
    """Mean over prompts of one side less that of the other."""
    values = replies.values[:, 1].astype(float)

    def of_side(rows: np.ndarray) -> np.ndarray:
        prompts = np.unique(replies.prompt[train & rows])
        return np.mean(
            [values[train & rows & (replies.prompt == p)].mean(axis=0) for p in prompts], axis=0
        )

    return of_side(plus) - of_side(minus)


@pytest.mark.parametrize("kind", ["role", "trait"])
@pytest.mark.parametrize("metric", ["auc", "auc_probe"])
def test_areas_are_those_of_scikit_learn(
    replies: Replies, found: Separability, kind: str, metric: str
) -> None:
    classes = np.char.add(np.char.add(replies.kind, replies.unit), replies.side)
    everyone = replies.kind == kind
    if kind == "role":
        everyone |= replies.kind == "default"
    for number, name in enumerate(found.names[kind][:4]):
        areas: list[list[float]] = [[] for _ in range(6)]
        if kind == "role":
            plus, minus = replies.unit == name, replies.kind == "default"
        else:
            plus, minus = (
                (replies.unit == name) & (replies.side == s) for s in ("positive", "negative")
            )
        for train, test in folds(replies):
            along = direction(replies, train, plus, minus)
            if metric == "auc_probe":
                probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
                probe.fit(replies.values[train & everyone, 1], classes[train & everyone])
                along = np.linalg.solve(probe.covariance_, along)
            rows = test & (plus | minus)
            if len(set(plus[rows])) == 2:
                area = roc_auc_score(plus[rows], replies.values[rows, 1] @ along)
                areas[int(replies.question[rows][0] % 6)].append(float(area))
        expected = [np.mean(fold) for fold in areas]
        np.testing.assert_allclose(found.scores[metric, kind][number, :, 1], expected, atol=1e-6)


def test_silhouette_is_that_of_scikit_learn(replies: Replies, found: Separability) -> None:
    values = replies.values[:, 0] / np.linalg.norm(replies.values[:, 0], axis=1, keepdims=True)
    roles = replies.kind == "role"
    name = found.names["role"][2]
    by_fold: list[list[float]] = [[] for _ in range(6)]
    for train, test in folds(replies):
        for row in np.flatnonzero(test & (replies.unit == name)):
            rows = np.append(np.flatnonzero(train & roles), row)
            silhouette = silhouette_samples(values[rows], replies.unit[rows], metric="sqeuclidean")
            by_fold[replies.question[row] % 6].append(silhouette[-1])
    expected = [np.mean(fold) for fold in by_fold]
    np.testing.assert_allclose(found.scores["silhouette", "role"][2, :, 0], expected, atol=1e-5)
