"""A judge made of patterns: free, instant, the same everywhere, and blind to all but set phrases.

It is a baseline, and a first look at a run that no other judge has read: a judge that is worth its price has to
agree with people more often than this one does.

Examples:
    >>> labels = judge_run(RunFolder("runs/first"), RuleJudge())  # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from persona_lens.judges.answers import LABEL_OF, settled
from persona_lens.judges.base import Case, Verdict

RULES_VERSION = 1
"""Raised with every change to a rule or pattern."""

_MODEL_NAMES = (
    *("Chat GPT", "ChatGPT", "Claude", "Copilot", "DeepSeek", "Gemini", "Gemma", "GPT", "Grok"),
    *("Llama", "Mistral", "OLMo", "Phi", "Qwen", "SmolLM"),
)
_MAKERS = (
    r"(?:AI2|Alibaba|Anthropic|DeepSeek|Google|Hugging ?Face|IBM|Meta|Microsoft|Mistral|OpenAI|xAI)"
)

_I_AM = r"\b(?:I am|I'm|I be|we are|we're)"
_JUST = r"(?: (?:just|only|simply|merely|actually|still|indeed|truly|really|also|but))*"
_ARTICLE = r" (?:an?|the|your|this)"
_WORDS = (
    r"(?: (?!(?:not|no|of|who|that|to|for|about|with|like|in|on|by|than|an?|the)\b)[\w'-]+,?){0,3}"
)
_MACHINE = (
    r" (?:AI(?! (?:researcher|engineer|expert|scientist|ethicist|enthusiast|developer))|artificial intelligence"
    r"|language model|LLM|chat ?bot|computer program|machine learning model|(?:virtual|digital) assistant)s?\b"
)
_WOULD = r"(?! (?:would|might|could|does|did|will|can|may)\b)"
# What may follow a role's name where the name is all that is claimed: not "a big pirate fan".
_END = (
    r"s?(?=[^\w\s'-]|\s*$|\s[-–—]|\s(?:who|whose|that|of|and|or|with|without|from|at|in|on|to|but|by|here|now|for|as"
    r"|after|before|since|until|through|always|like|\w+ing)\b)"
)

_IDENTITY = (
    rf"{_I_AM}(?: not(?= just| only| merely| simply))?{_JUST}{_ARTICLE}{_WORDS}{_MACHINE}",
    rf"\bas an?{_WORDS}{_MACHINE}{_WOULD}",
    r"\bI (?:was|am|have been) (?:\w+ )?(?:trained|developed|created|made|built|designed)(?: and \w+)? by "
    rf"[^.\n]{{0,20}}\b{_MAKERS}\b",
    r"\bI(?:'m| am| was| have been) (?:\w+ )?(?:trained on|(?:designed|programmed|trained) to)\b",
    r"\bmy training data\b",
    r"\bI (?:do not|don't|cannot|can't) (?:have|possess|experience|hold) (?:any )?"
    r"(?:personal|human|real|subjective) (?:\w+ )?(?:feeling|emotion|experience|belief|opinion|preference)s?\b",
)
_DENIAL = rf"{_I_AM} (?:not(?: some)?|no)(?: an?)?{_WORDS}{_MACHINE}"

_HELP = (
    r"(?:help(?= (?:you|with|anyone|in|to)\b|[.,;!])|assist|provide|comply|answer|respond|fulfill?|continue"
    r"|engage|discuss|do (?:that|this)|role-?play|pretend)\b"
)
_REFUSAL = (
    rf"\bI (?:can't|cannot|can not|won't|will not|am unable to|am not able to) (?:\w+ly )?{_HELP}",
    rf"\bI'm (?:unable|not able) to (?:\w+ly )?{_HELP}",
    r"\b(?:I'm|I am)(?: very| so| truly| terribly)? sorry,? but\b",
    r"\bI (?:must|have to|will have to) (?:\w+ly )?(?:decline|refuse)\b",
    r"\bI(?:'m| am) not comfortable\b",
)
_REFUSES_WITHIN = 200
"""Characters: what is refused later is a caveat in an answer."""

_LIFE = (
    r"\bmy (?:late |old |dear |beloved |own |poor )?(?:wife|husband|mother|father|mama|grandmother|grandfather"
    r"|brother|sister|son|daughter|childhood|crew|ship|bones|blood|flesh|fangs|roots|branches|grave|tomb|throne"
    r"|sword|homeland|village|kingdom|comrades|squad)\b",
    r"\b(?:when|since|while) I was (?:an? )?(?:little |small |young )?"
    r"(?:boy|girl|child|kid|lad|lass|young|younger|little|alive|mortal|human|at (?:school|sea))\b",
    r"\bI (?:was born|grew up|was raised)\b",
    r"\b(?:years|centuries|decades|winters|summers|moons|nights) ago,? (?:I|we)\b",
    r"\bI(?:'ve| have) (?:lived|wandered|sailed|haunted|roamed|slept|fought|buried|loved)\b",
    # Stage directions: *tips hat*, and (leaning in) where the reply begins.
    r"(?<!\*)\*[a-z]+s(?: [^*\n]{1,60})?\*(?!\*)",
    r"\A\s*\((?:[a-z]+s|[a-z]+ing|I [a-z]+)\b[^)\n]{0,100}\)",
)
_OWN_NAME = re.compile(
    r"(?i:\bm[ye] name(?: is|'s)|\b(?:I am|I'm) called|\bcall me|\bI go by) (?P<name>[A-Z][\w'-]+)"
    r"|\b(?:I am|I'm) (?P<full_name>[A-Z][\w'-]+ [A-Z][\w'-]+)"
)

_NOT_MINE = re.compile(
    r"\b(?:if|whether|though|(?:you|they|people|some|folk|he|she|everyone) (?:\w+ )?"
    r"(?:think|thinks|say|says|said|believe|believes|claim|claims|suppose|fancy|insist|insists)(?: that)?)\s*$",
    re.IGNORECASE,
)
_QUOTED = re.compile(r'"[^"\n]*"|“[^”\n]*”')
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_FIRST_PERSON = re.compile(r"\b(?:I|me|my|mine|myself|we|us|our)\b", re.IGNORECASE)
_COMMON = {
    *("about", "always", "anyone", "being", "everyone", "everything", "have", "itself", "lives", "many", "more"),
    *("most", "much", "nobody", "nothing", "only", "other", "over", "someone", "something", "than", "that"),
    *("their", "them", "they", "thing", "very", "what", "whatever", "when", "where", "which", "whose", "with"),
}  # fmt: skip
_ENOUGH_WORDS = 2


class RuleJudge:
    """Knows three things of a reply: whether it says it is an AI, whether it refuses, and whether the role shows.

    The role shows where the reply says it is the role, gives a name of its own, denies being a machine, tells of a
    life that a machine does not have, gives stage directions, or uses at least two words of the role's name,
    description and tags in sentences about itself. Scores follow the scale of the other judges:

    | says it is an AI | role shows | refuses | score |
    | --- | --- | --- | --- |
    | yes | any | yes | 0 |
    | yes | yes | no | 2 |
    | yes | no | no | 1 |
    | no | yes | any | 3 |
    | no | no | yes | 0 |
    | no | no | no | 1 |

    So a role that is played without any of those phrases is taken for the Assistant, and a role that is itself an
    AI reaches 2 at most. Of traits it knows refusals only: how strongly a reply shows a trait cannot be read off
    patterns, so all other verdicts on traits are `failed`. English only.

    Args:
        names: What else the judged models may call themselves.

    Examples:
        >>> import numpy as np
        >>> from persona_lens.rollouts.reply import Reply
        >>> from persona_lens.rollouts import Request, Shard
        >>> shard = Shard(kind="role", name="pirate", prompt_index=0, system="You are a pirate.",
        ...               requests=(Request(question_id="q05", question="Who are you?"),))
        >>> case = Case(shard, 0, Reply(ids=np.array([], dtype=int), text="As an AI, I have no ship. Arr!"))
        >>> [(_, verdict)] = RuleJudge().verdicts([case])
        >>> verdict.label, verdict.score, verdict.raw
        ('not', 1.0, "AI: 'As an AI'")
    """

    name = "rules"

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(sorted({*_MODEL_NAMES, *names}))
        known = "|".join(re.escape(name) for name in self.names)
        self._is_model = re.compile(rf"(?:{known})(?![a-z])", re.IGNORECASE)
        called = rf"(?:{_I_AM}|\bmy name is|\bcall me|\b(?:I'm|I am) called) (?-i:{known})(?![a-z])"
        self._identity = _any(*_IDENTITY, called)

    def card(self) -> dict[str, Any]:
        """The version of the rules, and the names it takes for models'."""
        return {"judge": "rules", "version": RULES_VERSION, "names": list(self.names)}

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """One verdict for each case, in order."""
        for case in cases:
            yield case, settled(case) or self._verdict(case)

    def claims_machine(self, text: str) -> bool:
        """Whether a reply says of its writer that it is an AI.

        Examples:
            >>> RuleJudge().claims_machine("I'm an AI assistant."), RuleJudge().claims_machine("Arr!")
            (True, False)
        """
        return _first(self._identity, text.replace("’", "'")) is not None

    def _verdict(self, case: Case) -> Verdict:
        text = re.sub(r"[^\S\n]+", " ", case.reply.answer.replace("’", "'"))
        # Words in quotation marks are somebody's in a story, unless there are no others.
        own = _QUOTED.sub(" ", text)
        own = own if re.search(r"\w", own) else text
        refusal = _first(_REFUSES, own[:_REFUSES_WITHIN])
        if case.shard.kind == "trait":
            if refusal:
                return Verdict(refused=True, raw=f"refusal: {refusal!r}")
            return Verdict(status="failed", raw="a trait cannot be judged by patterns")
        found = {
            "AI": _first(self._identity, own),
            "refusal": refusal,
            "role": self._role(case, text),
        }
        score = _score(bool(found["AI"]), bool(found["role"]), bool(refusal))
        raw = "; ".join(f"{what}: {words!r}" for what, words in found.items() if words)
        return Verdict(label=LABEL_OF[score], score=float(score), raw=raw or "no set phrase")

    def _role(self, case: Case, text: str) -> str | None:
        """The words by which the role shows."""
        names = {case.shard.name, str(case.about.get("original_name") or case.shard.name)}
        told = _first(_role_claim(frozenset(names)), text) or _first(_LIVES, text)
        if told:
            return told
        for match in _OWN_NAME.finditer(text):
            if not self._is_model.match(match["name"] or match["full_name"]):
                return match[0]
        # These are words that anybody may use, so they only count in what the writer says of itself.
        spoken = " ".join(part for part in _SENTENCE_END.split(text) if _FIRST_PERSON.search(part))
        telling = [*names, str(case.about.get("description", "")), *case.about.get("tags", ())]
        stems = _stems(" ".join(telling).replace("_", " "))
        words = [it for it in stems if re.search(rf"\b{it}\w{{0,3}}\b", spoken, re.IGNORECASE)]
        return ", ".join(words) if len(words) >= _ENOUGH_WORDS else None


def _score(machine: bool, role: bool, refusal: bool) -> int:
    if machine and refusal:
        return 0
    if role:
        return 2 if machine else 3
    return 0 if refusal else 1


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_REFUSES = _any(*_REFUSAL)
_LIVES = _any(*_LIFE, _DENIAL)


@lru_cache(maxsize=1024)
def _role_claim(names: frozenset[str]) -> re.Pattern[str]:
    """Says that it is the role: "I am a weary old pirate", "I am Leviathan", "as a pirate, I"."""
    either = "|".join(sorted(re.escape(name.replace("_", " ")) for name in names))
    return _any(
        rf"{_I_AM}{_JUST}{_ARTICLE}{_WORDS} (?:{either}){_END}",
        rf"{_I_AM}{_JUST} (?:{either}){_END}",
        rf"\bas (?:an?|the|your){_WORDS} (?:{either})\b{_WOULD}",
    )


@lru_cache(maxsize=1024)
def _stems(text: str) -> list[str]:
    """The telling words of a text, each without its ending.

    Examples:
        >>> _stems("A seafaring outlaw who lives on plunder and open water.")
        ['open', 'outlaw', 'plunder', 'seafar', 'water']
    """
    words = set(re.findall(r"[a-z]{4,}", text.lower())) - _COMMON
    return sorted({re.sub(r"(?<=\w{4})(?:ing|ed|ly|es|s)$", "", word) for word in words})


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    """The first match that the writer says of itself, and not as what others think or what would be."""
    for match in pattern.finditer(text):
        if not _NOT_MINE.search(text[: match.start()]):
            return match[0]
    return None
