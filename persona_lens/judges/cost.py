"""What judging will cost, told before anything is asked: calls, tokens, time, money."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from persona_lens.quantities import format_seconds


@dataclass(frozen=True)
class JudgingCost:
    """The cost of judging a run, scaled up from a few of its replies.

    Attributes:
        calls: Replies the server is asked about; empty ones are settled without it.
        prompt_tokens: Of all calls together.
        answer_tokens: Likewise, if the judge answers in the form it is asked for.
        most_answer_tokens: Likewise, if it always talks until it is cut, as judges that think do.
        counted_by: How tokens were counted.
        concurrency: Calls in flight at once.
        seconds_per_call: Measured, or assumed.
        price: Dollars for a million tokens of prompts and of answers; None if it was not given.
        sample_prompt: One prompt in full.

    Examples:
        >>> print(JudgingCost(calls=1000, prompt_tokens=600_000, answer_tokens=5000, most_answer_tokens=64_000,
        ...                   counted_by="4 characters a token", concurrency=16, seconds_per_call=0.8,
        ...                   price=(0.5, 2.0), sample_prompt="..."))
        1,000 calls, one a reply.
        600,000 tokens of prompts and 5,000 to 64,000 of answers (4 characters a token).
        50 s, if a call takes 0.8 s and 16 run at a time.
        $0.31 to $0.43, at $0.50 and $2.00 a million tokens of prompts and of answers.
    """

    calls: int
    prompt_tokens: int
    answer_tokens: int
    most_answer_tokens: int
    counted_by: str
    concurrency: int
    seconds_per_call: float
    price: tuple[float, float] | None
    sample_prompt: str

    @property
    def seconds(self) -> float:
        """Time for all calls, if the server keeps up with so many at once."""
        return self.calls / self.concurrency * self.seconds_per_call

    @property
    def money(self) -> tuple[float, float] | None:
        """Least and most, in dollars."""
        if self.price is None:
            return None
        for_prompts, for_answers = (each / 1e6 for each in self.price)
        prompts = self.prompt_tokens * for_prompts
        return (
            prompts + self.answer_tokens * for_answers,
            prompts + self.most_answer_tokens * for_answers,
        )

    def __str__(self) -> str:
        lines = [
            f"{self.calls:,} calls, one a reply.",
            f"{self.prompt_tokens:,} tokens of prompts and {self.answer_tokens:,} to "
            f"{self.most_answer_tokens:,} of answers ({self.counted_by}).",
            f"{format_seconds(self.seconds)}, if a call takes {self.seconds_per_call:g} s and "
            f"{self.concurrency} run at a time.",
        ]
        if self.money is None or self.price is None:
            lines.append("Dollars: not known without a price for a million tokens.")
        else:
            least, most = self.money
            prompts, answers = self.price
            lines.append(
                f"${least:,.2f} to ${most:,.2f}, at ${prompts:.2f} and ${answers:.2f} a million tokens of prompts "
                "and of answers."
            )
        return "\n".join(lines)


def token_counter(model: str) -> tuple[str, Callable[[str], int]]:
    """How tokens of a model are counted, in words and as a function.

    tiktoken is used if it is installed, knows the model and has its vocabulary (which it downloads once);
    otherwise a token is taken to be four characters, as in English text.

    Examples:
        >>> how, count = token_counter("some-local-model")
        >>> how, count("How far does the reply play the role?")
        ('4 characters a token', 10)
    """
    try:
        encoding = importlib.import_module("tiktoken").encoding_for_model(model)
    except (ImportError, KeyError, OSError):
        return "4 characters a token", lambda text: -(-len(text) // 4)
    return f"tiktoken {encoding.name}", lambda text: len(
        encoding.encode(text, disallowed_special=())
    )
