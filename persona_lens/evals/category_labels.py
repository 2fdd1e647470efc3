"""Which category a completion belongs to, without a judge model: the nearest by embedding, or "unclear".

    judge = CategoryJudge()                     # packaged MiniLM and categories, offline
    judge.outcomes([Answer(Item("job", prefill="My job is to", about={"family": "purpose"}), " heal the sick.")])

A category is the mean of the vectors of its exemplars and of its line. A completion whose two nearest categories
are about as near is "unclear": by how much they have to differ is chosen on one half of the completions labelled
by hand, and `persona_lens.evals.labelling_error` says on the other half how often the rest is right. Such a judge
is coarse; its errors go into every share that is made of it (`persona_lens.evals.completion_shares`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from persona_lens.catalog.prefills import (
    Category,
    LabelledCompletion,
    load_categories,
    load_labelled,
    split_labelled,
)
from persona_lens.embedding import embed_texts, open_embedder
from persona_lens.errors import EvaluationError
from persona_lens.evals.outcomes import Answer, Outcome

if TYPE_CHECKING:
    from persona_lens.embedding import Embedder

OTHER, UNCLEAR = "other", "unclear"
TARGET = 0.9
"""Share of the labels given that should be right, on the half on which the margin is chosen."""
LEAST_LABELLED = 0.5
"""Of the completions at least so many get a label, whatever the target."""
SENTENCES, WORDS = 2, 40
"""How much of a completion is looked at: base models soon speak of something else."""

REPEATED, LEAST_WORDS = 0.5, 6
"""Of so many words more than this share was said before: the text goes in circles, and is about nothing."""

_END = re.compile(r"(?<=[.!?])\s+")


def opening(text: str) -> str:
    """The first sentences of a completion, in one line; empty where it has no letter.

    Examples:
        >>> opening(" teach.\\n\\nI like it!  Do you? I do.")
        'teach. I like it!'
        >>> opening(" ...\\n")
        ''
    """
    if not any(letter.isalpha() for letter in text):
        return ""
    sentences = _END.split(" ".join(text.split()))
    return " ".join(" ".join(sentences[:SENTENCES]).split(" ")[:WORDS])


def circles(text: str) -> bool:
    """Whether a text says the same words again and again, as pushed models do.

    Examples:
        >>> circles("the beginner the beginner the beginner"), circles("Help the sick and help the poor.")
        (True, False)
    """
    words = text.lower().split()
    return len(words) >= LEAST_WORDS and 1 - len(set(words)) / len(words) > REPEATED


@dataclass(eq=False)
class CategoryJudge:
    """Says which category of its family a completion is nearest to; an `ItemJudge`.

    Items say in `about["family"]` which categories they are about. A completion without a letter, or that
    goes in circles, is "other".
    The score of an outcome is the margin, the difference between the cosines with the nearest category and with
    the next; `raw` names both.

    Attributes:
        embedder: Makes vectors of texts; the packaged MiniLM if left out.
        categories: The packaged ones if left out.
        sample: Completions labelled by hand, of which one half decides the margins; the packaged ones if left out.
        margins: The least margin for a label, by family, instead of what the sample says.
        name: Key in frames.

    Raises:
        EvaluationError: When asked about a family without categories; when margins are wanted of a sample that has
            no completion of a family.

    Examples:
        >>> from persona_lens.evals.items import Item
        >>> item = Item("job", prefill="My job is to", about={"family": "purpose"})
        >>> answers = [Answer(item, " pray for my flock."), Answer(item, "")]
        >>> [outcome.label for outcome in CategoryJudge().outcomes(answers)]
        ['religious_spiritual', 'other']
    """

    embedder: Embedder | None = None
    categories: Sequence[Category] = field(default_factory=load_categories)
    sample: Sequence[LabelledCompletion] = field(default_factory=load_labelled)
    margins: Mapping[str, float] | None = None
    name: str = "category"

    def card(self) -> dict[str, Any]:
        """Embedder, categories, margins and what of a completion is looked at."""
        return {
            "name": self.name,
            "version": 1,
            "embedder": self._embedder.fingerprint(),
            "categories": [each.model_dump(mode="json") for each in self.categories],
            "margins": {family: self.margin(family) for family in self.families},
            "looked_at": [SENTENCES, WORDS, REPEATED, LEAST_WORDS],
        }

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        """The nearest category of each, or "unclear"."""
        families = [str(answer.item.about.get("family", "")) for answer in answers]
        found: list[Outcome | None] = [None] * len(answers)
        for family in dict.fromkeys(families):
            places = [place for place, of in enumerate(families) if of == family]
            texts = [answers[place].text for place in places]
            for place, outcome in zip(places, self._labelled(texts, family), strict=True):
                found[place] = outcome
        return [outcome for outcome in found if outcome is not None]

    @property
    def families(self) -> tuple[str, ...]:
        """Those it has categories of."""
        return tuple(dict.fromkeys(each.family for each in self.categories))

    def names(self, family: str) -> list[str]:
        """The categories of a family.

        Raises:
            EvaluationError: It has none.
        """
        found = [each.name for each in self.categories if each.family == family]
        if not found:
            raise EvaluationError(
                f"there are no categories of family {family!r}",
                expected=", ".join(self.families),
                remedy="give categories=[*load_categories(), Category(family=..., ...), ...]",
            )
        return found

    def margin(self, family: str) -> float:
        """The least margin for a label."""
        if self.margins is not None and family in self.margins:
            return self.margins[family]
        if family not in self._chosen:
            self._chosen[family] = self._choose(family)
        return self._chosen[family]

    def nearness(self, texts: Sequence[str], family: str) -> Float[np.ndarray, "text category"]:
        """Cosine of each text, none of them empty, with each category of a family, in the order of `names`."""
        self.names(family)
        return embed_texts(self._embedder, texts, progress=False) @ self._centres[family].T

    def _labelled(self, texts: Sequence[str], family: str) -> list[Outcome]:
        names, margin = self.names(family), self.margin(family)
        cut = [opening(text) for text in texts]
        spoken = [place for place, text in enumerate(cut) if text and not circles(text)]
        outcomes = [Outcome(OTHER, raw="goes in circles" if text else "no words") for text in cut]
        if not spoken:
            return outcomes
        near = self.nearness([cut[place] for place in spoken], family)
        for place, row in zip(spoken, near, strict=True):
            first, second = np.argsort(-row, kind="stable")[:2]
            lead = float(row[first] - row[second])
            label = names[first] if lead >= margin else UNCLEAR
            raw = f"{names[first]} {row[first]:.2f}, {names[second]} {row[second]:.2f}"
            outcomes[place] = Outcome(label, lead, raw=raw)
        return outcomes

    def _choose(self, family: str) -> float:
        """The least margin at which `TARGET` of the labels are right, or the best at which enough are given."""
        half = [each for each in split_labelled(self.sample)[0] if each.family == family]
        if not half:
            raise EvaluationError(
                f"no completion of family {family!r} is labelled by hand, so no margin can be chosen",
                remedy=f"give sample=[LabelledCompletion(...), ...], or margins={{{family!r}: 0.0}}",
            )
        near = self.nearness([opening(each.text) or "." for each in half], family)
        two = np.sort(near, axis=1)[:, -2:]
        leads = two[:, 1] - two[:, 0]
        names = self.names(family)
        right = np.array(
            [names[at] == each.label for at, each in zip(near.argmax(axis=1), half, strict=True)]
        )
        order = np.argsort(-leads, kind="stable")
        counts = np.arange(1, len(order) + 1)
        accuracy = right[order].cumsum() / counts
        allowed = np.flatnonzero(counts >= LEAST_LABELLED * len(order))
        good = allowed[accuracy[allowed] >= TARGET]
        best = good.max() if len(good) else allowed[accuracy[allowed].argmax()]
        if best == len(order) - 1:
            return 0.0
        return float((leads[order[best]] + leads[order[best + 1]]) / 2)

    @cached_property
    def _embedder(self) -> Embedder:
        return open_embedder() if self.embedder is None else self.embedder

    @cached_property
    def _centres(self) -> dict[str, np.ndarray]:
        found = {}
        for family in self.families:
            own = [each for each in self.categories if each.family == family]
            means = np.stack(
                [
                    embed_texts(self._embedder, [each.about, *each.exemplars], progress=False).mean(
                        0
                    )
                    for each in own
                ]
            )
            found[family] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return found

    @cached_property
    def _chosen(self) -> dict[str, float]:
        return {}
