"""Replies on which a judge has no verdict, and why: what the command line says of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from persona_lens.errors import RunError
from persona_lens.judges.answers import CUT_OFF, EMPTY_ANSWER, EMPTY_REPLY
from persona_lens.judges.base import Verdict
from persona_lens.runs.store.labels import Labels

_REASONS_SHOWN = 3
_LONGEST_REASON = 200
_CUT = "the answer was cut off before its score"


@dataclass(frozen=True)
class Unlabelled:
    """How many replies of a run have no verdict of a judge.

    Attributes:
        answered: Verdicts that the judge has given, without those on empty replies, which need no judge.
        reasons: How many there are not, by reason.
        settled: Empty replies, which have a verdict without the judge.

    Examples:
        >>> print(Unlabelled(answered=90, reasons=Counter({"no answer within 60 s": 10})))
        No verdict on 10 of 100 replies:
          10 times no answer within 60 s
    """

    answered: int
    reasons: Counter[str]
    settled: int = 0

    @classmethod
    def of(cls, labels: Labels) -> Unlabelled:
        """Count the verdicts that are in files."""
        answered, settled, reasons = 0, 0, Counter[str]()
        for shard in labels.run.shards:
            if shard.kind == "default" or not labels.has(shard):
                continue
            for verdict in labels.read(shard):
                if verdict.status != "ok":
                    reasons[_reason(verdict)] += 1
                elif verdict.raw == EMPTY_REPLY:
                    settled += 1
                else:
                    answered += 1
        return cls(answered, reasons, settled)

    def check(self) -> None:
        """Refuse a judge that has no verdict on any reply.

        Raises:
            RunError: Every single one failed.
        """
        if self.reasons and not self.answered:
            raise RunError(
                f"not one of {self.reasons.total():,} replies got a verdict",
                given=self.reasons.most_common(1)[0][0],
                remedy=self._remedy(),
            )

    def __str__(self) -> str:
        count = self.reasons.total()
        lines = [f"No verdict on {count:,} of {count + self.answered:,} replies:"]
        for reason, times in self.reasons.most_common(_REASONS_SHOWN):
            lines.append(f"  {times:,} times {reason}")
        return "\n".join(lines)

    def _remedy(self) -> str:
        likeliest = self.reasons.most_common(1)[0][0]
        if likeliest == _CUT:
            return (
                "give the judge room to think, --max-tokens 4000 (max_tokens), or have it think less, such as "
                """--extra-body '{"reasoning_effort": "low"}'"""
            )
        if "temperature" in likeliest:
            return "leave the temperature out: --temperature none (temperature=None)"
        return "mend that, then run the same command with --retry"


def _reason(verdict: Verdict) -> str:
    """Why there is no verdict, in the same words for all of one kind."""
    if verdict.status == "failed":
        return verdict.raw.splitlines()[0][:_LONGEST_REASON] if verdict.raw else "it failed"
    if verdict.raw.startswith(CUT_OFF) or verdict.raw == f"{EMPTY_ANSWER} (ended by length)":
        return _CUT
    if verdict.raw.startswith(EMPTY_ANSWER):
        return verdict.raw
    return "the answer states no score, or several"
