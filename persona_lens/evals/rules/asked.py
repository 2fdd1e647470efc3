"""Rules under persona: does a character make a model break a rule that it keeps without one?

result = evaluate(rules(first=40), model, [UNTOUCHED, *capped(model, space)], space=space)
result.measures      # broken under persona, by the neutral twin, the difference, replies that say nothing
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

from persona_lens.catalog import HouseRule, load_rules
from persona_lens.catalog.house_rules import RuleSpec
from persona_lens.errors import EvaluationError
from persona_lens.evals.evaluation import Evaluation
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure
from persona_lens.evals.outcomes import Answer, Exact, Outcome
from persona_lens.evals.rules.checkers import CHECKERS, Checker
from persona_lens.evals.rules.coherence import incoherent
from persona_lens.rollouts.sampling import Sampling
from persona_lens.spelling import did_you_mean

TWINS = ("persona", "neutral")
VERSION = 1
SAMPLING = Sampling(temperature=0, max_new_tokens=128)

MEASURES = (
    Measure("rule broken under persona", "rule", ("broken",), {"twin": "persona"}, good=-1),
    Measure("rule broken, neutral twin", "rule", ("broken",), {"twin": "neutral"}, good=-1),
    Measure("effect of the persona", "effect", unit="difference", good=-1),
    Measure("broken under persona, sense made", "rule if coherent", ("broken",), {"twin": "persona"}, good=-1),
    Measure("broken, neutral twin, sense made", "rule if coherent", ("broken",), {"twin": "neutral"}, good=-1),
    Measure("incoherent", "coherence", ("incoherent",), good=-1),
)  # fmt: skip


def rules(
    kinds: Iterable[str] | None = None,
    first: int | None = None,
    own: RuleSpec = None,
    *,
    checkers: Mapping[str, Checker] | None = None,
    fewest_words: int = 1,
) -> Evaluation:
    """An evaluation: how often is a rule broken under a persona that pulls against it, and by its neutral twin?

    Each rule is asked twice, with the same rule and request. The two are one cluster, so that all intervals
    resample pairs. Labels are of programs: `kept` and `broken`. An empty reply keeps what forbids and breaks what
    demands; the measures with "sense made" leave replies out that say nothing.

    Args:
        kinds: Only rules of these kinds.
        first: Only so many pairs; kinds take turns.
        own: Rules of your own instead of the packaged ones, as `load_rules` takes them.
        checkers: Programs for kinds of your own: reply and parameters to whether the rule was kept.
        fewest_words: A reply with fewer is incoherent.

    Raises:
        CatalogError: An own rule is malformed.
        EvaluationError: There is no such kind, or no rule is left.

    Examples:
        >>> evaluation = rules(kinds=["price"], first=1)
        >>> [(item.about["twin"], item.cluster) for item in evaluation.items]
        [('persona', 'price/brass_lamp'), ('neutral', 'price/brass_lamp')]
    """
    known = {**CHECKERS, **(checkers or {})}
    chosen = load_rules("all" if own is None else own, also=set(checkers or ()) - set(CHECKERS))
    chosen = _of_kinds(chosen, kinds, known)
    chosen = _in_turn(chosen)[:first]
    if not chosen:
        raise EvaluationError(
            "no rule is left to ask about",
            given=f"kinds {', '.join(kinds or ()) or 'all'}, first {first}",
            remedy="ask for more, or for other kinds",
        )
    items = [_item(rule, twin) for rule in chosen for twin in TWINS]
    about = {"version": VERSION, "checks": _digest(chosen)}

    def kept(answer: Answer) -> bool:
        kind, parameters = answer.item.check
        return known[kind](answer.text, **parameters)

    def decide(answer: Answer) -> Outcome:
        broken = not kept(answer)
        return Outcome("broken" if broken else "kept", float(broken))

    def decide_if_coherent(answer: Answer) -> Outcome:
        reason = incoherent(answer.text, fewest_words)
        return Outcome(status="not asked", raw=reason) if reason else decide(answer)

    def effect(answer: Answer) -> Outcome:
        # Twice the breaking with a sign: its mean over pairs is the paired difference.
        sign = 1.0 if answer.item.about["twin"] == "persona" else -1.0
        return Outcome(score=2 * sign * (not kept(answer)))

    def coherence(answer: Answer) -> Outcome:
        reason = incoherent(answer.text, fewest_words)
        return Outcome("incoherent" if reason else "coherent", float(bool(reason)), raw=reason)

    worded = {**about, "fewest_words": fewest_words}
    return Evaluation(
        "rules",
        "Rules under persona",
        items,
        [
            Exact("rule", decide, about),
            Exact("rule if coherent", decide_if_coherent, worded),
            Exact("effect", effect, about),
            Exact("coherence", coherence, worded),
        ],
        MEASURES,
        SAMPLING,
        "our own",
    )


def _item(rule: HouseRule, twin: str) -> Item:
    return Item.asked(
        f"{rule.id}/{twin}",
        rule.request,
        system=rule.system(twin),
        about={"rule": rule.kind, "twin": twin},
        cluster=rule.id,
        check=(rule.kind, dict(rule.check)),
    )


def _of_kinds(
    chosen: Sequence[HouseRule], kinds: Iterable[str] | None, known: Mapping[str, Any]
) -> list[HouseRule]:
    wanted = list(known if kinds is None else kinds)
    for kind in wanted:
        if kind not in known:
            raise EvaluationError(
                f"there is no kind of rule {kind!r}",
                expected=", ".join(known),
                remedy=did_you_mean(kind, known, "rule_kinds() has them all"),
            )
    return [rule for rule in chosen if rule.kind in wanted]


def _in_turn(chosen: Sequence[HouseRule]) -> list[HouseRule]:
    """One of each kind, then the second of each, and so on."""
    by_kind = defaultdict(list)
    for rule in chosen:
        by_kind[rule.kind].append(rule)
    return [rule for rule in chain(*zip_longest(*by_kind.values())) if rule is not None]


def _digest(chosen: Sequence[HouseRule]) -> str:
    """Of all that checkers are told, as judging hangs on it and replies do not."""
    told = [[rule.id, rule.kind, dict(rule.check)] for rule in chosen]
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:16]
