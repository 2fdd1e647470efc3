"""Halves that share neither question nor prompt: reliability of vectors, and Fisher's ratio without bias."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from persona_lens.separability.draws import Draws
from persona_lens.statistics import known_mean

Sums = Float[np.ndarray, "prompt_fold question_fold unit d_model"]
Counts = Float[np.ndarray, "prompt_fold question_fold unit"]


def reliability_of_means(
    sums: Sums, counts: Counts, draws: Draws
) -> Float[np.ndarray, "draw unit"]:
    """Cosine of the two halves of every unit, each less the mean of all units, for every draw."""
    return _mean_of(
        _cosines(first, second) for first, second in _halves_of_means(sums, counts, draws)
    )


def reliability_of_differences(
    sums: tuple[Sums, Sums], counts: tuple[Counts, Counts], draws: Draws
) -> Float[np.ndarray, "draw unit"]:
    """Cosine of the two halves of every difference between two sides, with pairs swapped, for every draw."""

    def halves() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for prompts, questions in _both_halves(sums[0], draws):
            vectors = []
            for chosen, asked in zip(prompts, questions, strict=True):
                plus, minus = (
                    _fold_means(s, n, chosen, asked) for s, n in zip(sums, counts, strict=True)
                )
                known = plus[1] & minus[1]
                difference = np.where(known[..., None], plus[0] - minus[0], 0.0)
                vectors.append(
                    np.einsum(
                        "gup,pud->gud", draws.sides[:, :, 0, chosen], difference, optimize=True
                    )
                )
            yield vectors[0], vectors[1]

    return _mean_of(_cosines(first, second) for first, second in halves())


def fisher(sums: Sums, counts: Counts, draws: Draws) -> Float[np.ndarray, "draw unit"]:
    """Variance between units over variance within, of replies of norm 1, for every draw.

    The squared distance of a unit from the mean of all is the product of what two halves find for it, so that
    noise, which the halves do not share, adds nothing on average: the ratio may be negative.
    """
    between = _mean_of(
        np.einsum("gud,gud->gu", first, second)
        for first, second in _halves_of_means(sums, counts, draws)
    )
    totals, n_replies = sums.sum(axis=1), counts.sum(axis=1)
    within = np.empty_like(between)
    for draw, labels in enumerate(draws.labels):
        total = sum(fold[own] for fold, own in zip(totals, labels, strict=True))
        n = sum(fold[own] for fold, own in zip(n_replies, labels, strict=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            within[draw] = (n - np.einsum("ud,ud->u", total, total) / n) / (n - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(within > 0, between / within, np.nan)


def _halves_of_means(
    sums: Sums, counts: Counts, draws: Draws
) -> Iterator[
    tuple[Float[np.ndarray, "draw unit d_model"], Float[np.ndarray, "draw unit d_model"]]
]:
    """The vectors of both halves, of each halving: means over prompt folds, less the mean of all units."""
    for prompts, questions in _both_halves(sums, draws):
        vectors = []
        for chosen, asked in zip(prompts, questions, strict=True):
            means, known = _fold_means(sums, counts, chosen, asked)
            n_units = np.maximum(known.sum(axis=1), 1)[:, None, None]
            means -= means.sum(axis=1, keepdims=True) / n_units
            means[~known] = 0.0
            found = np.zeros((len(draws.labels), *means.shape[1:]), dtype=means.dtype)
            folds = np.zeros(found.shape[:2], dtype=means.dtype)
            for mean, there, fold in zip(means, known, chosen, strict=True):
                for draw, labels in enumerate(draws.labels[:, fold]):
                    found[draw] += mean[labels]
                    folds[draw] += there[labels]
            found /= np.maximum(folds, 1)[..., None]
            found[folds == 0] = np.nan
            vectors.append(found)
        yield vectors[0], vectors[1]


def _both_halves(sums: Sums, draws: Draws) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Prompt folds and question folds of both halves, of each halving."""
    everything = [np.arange(n) for n in sums.shape[:2]]
    for half in draws.halvings:
        rest = [np.setdiff1d(full, part) for full, part in zip(everything, half, strict=True)]
        yield [half[0], rest[0]], [half[1], rest[1]]


def _fold_means(
    sums: Sums, counts: Counts, prompts: np.ndarray, questions: np.ndarray
) -> tuple[Float[np.ndarray, "prompt_fold unit d_model"], np.ndarray]:
    """Mean over some questions under each of some prompts, 0 where there is no reply, and where there is one."""
    cells = np.ix_(prompts, questions)
    n = counts[cells].sum(axis=1)
    means = sums[cells].sum(axis=1) / np.maximum(n, 1.0)[..., None].astype(sums.dtype)
    return means, n > 0


def _cosines(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, "draw unit"]:
    products = np.einsum("gud,gud->gu", first, second)
    squares = np.einsum("gud,gud->gu", first, first) * np.einsum("gud,gud->gu", second, second)
    with np.errstate(invalid="ignore"):
        return np.where(
            squares > 0, products / np.sqrt(np.where(squares > 0, squares, 1.0)), np.nan
        )


def _mean_of(values: Iterator[np.ndarray]) -> np.ndarray:
    """Mean over the halvings that know a value."""
    return known_mean(np.array(list(values), dtype=np.float64), axis=0)
