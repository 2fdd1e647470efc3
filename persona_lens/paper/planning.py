"""What a report will take, before anything is done: replies, time, disk and money, stage by stage.

    plan = planned(preset("paper"), shape=(80, 8192, 7.0e10), pace=derived_pace(7.0e10, gpus=8, reply=512))
    print(plan)

Time is measured (a few replies of this model, kept in the folder), given, or derived from the number of
parameters; the plan says which. Stages without replies are not timed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from persona_lens.catalog.identity import load_identity_questions, load_identity_roles
from persona_lens.errors import EvaluationError
from persona_lens.evals.items import Item
from persona_lens.files import read_json, write_json
from persona_lens.paper.presets import Preset
from persona_lens.quantities import format_bytes, format_seconds
from persona_lens.runs.collection_progress import Estimate

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

PACE = "pace.json"
MEASURED_ON = 8
"""Replies that are timed."""

PEAK = 989e12
"""Multiplications and additions a second of an H100 or H200 in bfloat16, by its maker."""
WRITING, READING = 0.15, 0.4
"""Shares of the peak that are assumed for writing and for reading."""
PROMPT = 200
"""Tokens of a prompt, assumed where the time is derived."""
JUDGE_PROMPT, JUDGE_ANSWER = 450, 10
"""Tokens of a judge's prompt beside the reply, and of its answer, assumed."""

Shape = tuple[int, int, float]
"""Layers, width, parameters."""


@dataclass(frozen=True)
class Pace:
    """How fast replies come.

    Attributes:
        seconds: For a reply of `tokens`, written and read once.
        tokens: Of it.
        how: "measured just now", "measured before", "given" or "derived ...".
    """

    seconds: float
    tokens: int
    how: str

    def of(self, replies: int, tokens: int) -> float:
        """Seconds for replies of another length.

        Examples:
            >>> Pace(2.0, 32, "given").of(10, 64)
            40.0
        """
        return replies * self.seconds * tokens / self.tokens


@dataclass(frozen=True)
class Row:
    """What one stage takes.

    Attributes:
        stage: Its name.
        replies: To be written.
        tokens: Of each, at most.
        seconds: For them; None for a stage without replies, which is not timed.
        disk: Bytes.
        calls: Of a judge.
    """

    stage: str
    replies: int
    tokens: int
    seconds: float | None
    disk: int
    calls: int = 0


@dataclass(frozen=True)
class ReportPlan:
    """What a report takes.

    Attributes:
        preset: Whose.
        rows: A stage each.
        pace: How time was reckoned.
        gpus: That work at once.
        gpu_price: Of an hour of one, if it was given.
        judge_price: Of a million tokens of prompts and of answers, if it was given.
        judged: Whether a language model judges.
    """

    preset: Preset
    rows: tuple[Row, ...]
    pace: Pace
    gpus: int = 0
    gpu_price: float | None = None
    judge_price: tuple[float, float] | None = None
    judged: bool = False

    @property
    def replies(self) -> int:
        """Of all stages."""
        return sum(row.replies for row in self.rows)

    @property
    def seconds(self) -> float:
        """For all replies."""
        return sum(row.seconds or 0.0 for row in self.rows)

    @property
    def disk(self) -> int:
        """Bytes of all stages."""
        return sum(row.disk for row in self.rows)

    @property
    def calls(self) -> int:
        """Of the judge."""
        return sum(row.calls for row in self.rows) if self.judged else 0

    def cost(self) -> str:
        """Money, as far as prices were given; what it would be of, where they were not."""
        parts = []
        if self.gpus:
            hours = self.seconds / 3600 * self.gpus
            priced = "" if self.gpu_price is None else f" = {hours * self.gpu_price:,.0f} dollars"
            parts.append(f"{hours:,.1f} GPU hours{priced}")
        if self.judged:
            prompts = self.calls * (JUDGE_PROMPT + self.preset.reply)
            answers = self.calls * JUDGE_ANSWER
            said = f"{self.calls:,} calls of the judge, about {prompts / 1e6:,.1f} million prompt tokens"
            if self.judge_price is not None:
                money = (prompts * self.judge_price[0] + answers * self.judge_price[1]) / 1e6
                said += f" = {money:,.2f} dollars"
            parts.append(said)
        return "; ".join(parts) or "nothing: this machine, no server"

    def __str__(self) -> str:
        head = f"{'stage':<12} {'replies':>9} {'tokens':>7} {'time':>9} {'disk':>9}"
        lines = [f"Preset {self.preset.name}: {self.preset.about}.", "", head]
        for row in self.rows:
            spent = "not timed" if row.seconds is None else format_seconds(row.seconds)
            disk = format_bytes(row.disk) if row.disk else ""
            counts = f"{row.replies:>9,} {row.tokens:>7,}" if row.replies else " " * 17
            lines.append(f"{row.stage:<12} {counts} {spent:>9} {disk:>9}".rstrip())
        lines += [
            "",
            f"{self.replies:,} replies, about {format_seconds(self.seconds)} ({self.pace.how}), "
            f"{format_bytes(self.disk)} on disk.",
            f"Cost: {self.cost()}.",
        ]
        return "\n".join(lines)


def planned(
    preset: Preset,
    *,
    shape: Shape,
    pace: Pace,
    given: bool = False,
    base: bool = False,
    others: bool = False,
    items: bool = False,
    judged: bool = False,
    gpus: int = 0,
    gpu_price: float | None = None,
    judge_price: tuple[float, float] | None = None,
) -> ReportPlan:
    """What a report takes.

    Args:
        preset: How much is asked.
        shape: Layers, width and parameters of the model.
        pace: How fast replies come.
        given: A space is there already.
        base: There is a base model.
        others: There are spaces of other models.
        items: Harmful requests are brought.
        judged: A language model judges.
        gpus: That work at once, for the cost.
        gpu_price: Of an hour of one.
        judge_price: Of a million tokens of prompts and of answers.

    Examples:
        >>> from persona_lens.paper.presets import PRESETS
        >>> paper = PRESETS["paper"]
        >>> plan = planned(paper, shape=(80, 8192, 7e10), pace=derived_pace(7e10, gpus=8, reply=512))
        >>> {row.stage: row.replies for row in plan.rows if row.stage in ("roles", "traits")}
        {'roles': 331200, 'traits': 576000}
    """
    rows = list(_rows(preset, shape, pace, given=given, base=base, items=items))
    if not others:
        rows = [row for row in rows if row.stage != "others"]
    return ReportPlan(preset, tuple(rows), pace, gpus, gpu_price, judge_price, judged)


def _rows(
    preset: Preset, shape: Shape, pace: Pace, *, given: bool, base: bool, items: bool
) -> Iterator[Row]:
    plan = preset.collection.loaded()
    length, values = plan.sampling.max_new_tokens, shape[0] * shape[1]

    def asked(stage: str, replies: int, tokens: int, *, kept: int = 0, calls: int = 0) -> Row:
        disk = Estimate(replies, replies * tokens, 0.0, 0, kept).disk_bytes
        return Row(stage, replies, tokens, pace.of(replies, tokens), disk, calls)

    def without(stage: str) -> Row:
        return Row(stage, 0, 0, None, 0)

    if not given:
        questions = len(plan.questions)
        default = len(plan.defaults) * questions * plan.default_samples
        roles = sum(len(each.prompts[: plan.prompts]) for each in plan.roles) * questions
        traits = 2 * questions * sum(len(each.pairs[: plan.prompts]) for each in plan.traits)
        yield asked("roles", roles + default, length, kept=values, calls=roles)
        yield asked("traits", traits, length, kept=values, calls=traits)
        yield without("judge")
    yield from (without("spaces"), without("sweep"), without("others"))
    if base and not given:
        yield without("comparison")
    reply = preset.reply
    steered = preset.roles * preset.prompts * preset.questions * preset.conditions_steered
    yield asked("steering", steered, reply, calls=steered)
    caps = preset.conditions_capped
    personas = 2 * preset.personas if preset.personas else _PERSONAS
    yield asked("capping", personas * caps, reply)
    drifting = 4 * min(preset.scripts, _SCRIPTS) + 8 * preset.everyday
    yield asked("drift", 2 * drifting * preset.turns, reply)
    yield without("forecast")
    yield asked("rules", 2 * (preset.rules or _RULES) * caps, reply)
    if items:
        capped = 2 + 2 * preset.controls
        harmful = 2 * preset.harmful * capped
        yield asked("harm", harmful, _HARM_TOKENS, calls=harmful)
    yield asked("price", (3 * preset.price if preset.price else _PRICE) * caps, preset.long_reply)
    if base:
        completed = _PREFILLS * preset.completions * preset.conditions_steered
        yield asked("completions", completed, _COMPLETION_TOKENS, calls=completed)


_PERSONAS, _RULES, _PRICE, _PREFILLS, _SCRIPTS = 48, 200, 330, 5, 20
_HARM_TOKENS, _COMPLETION_TOKENS = 256, 40


def derived_pace(parameters: float, *, gpus: int, reply: int) -> Pace:
    """A pace from the number of parameters: two operations a parameter and token, at an assumed share of the peak.

    Args:
        parameters: Of the model.
        gpus: That work at once.
        reply: Tokens of a reply.

    Examples:
        >>> round(1 / derived_pace(7e10, gpus=8, reply=512).seconds, 1)
        10.9
    """
    a_token = 2 * parameters / (PEAK * max(gpus, 1))
    seconds = a_token * (reply / WRITING + (PROMPT + reply) / READING)
    several = "1 GPU" if gpus < 2 else f"{gpus} GPUs"
    how = (
        f"derived, not measured: {parameters / 1e9:,.3g} billion parameters on {several} of "
        f"{PEAK / 1e12:.0f} TFLOP/s, {WRITING:.0%} of that for writing and {READING:.0%} for reading"
    )
    return Pace(seconds, reply, how)


def given_pace(tokens_per_second: float, reply: int) -> Pace:
    """A pace from tokens a second, of all workers together, as somebody knows them.

    Raises:
        EvaluationError: Not above zero.
    """
    if not tokens_per_second > 0:
        raise EvaluationError(
            "no such speed", expected="tokens a second above 0", given=tokens_per_second
        )
    return Pace(reply / tokens_per_second, reply, f"given, {tokens_per_second:g} tokens a second")


def known_pace(model: PersonaModel, preset: Preset, folder: Path) -> Pace:
    """The pace of a model here: as it was measured before for this folder, else from a few replies now."""
    file, wanted = folder / PACE, [model.fingerprint, preset.reply]
    try:
        kept = read_json(file, EvaluationError)
        if kept["of"] == wanted:
            return Pace(kept["seconds"], preset.reply, "measured before, here")
    except FileNotFoundError:
        pass
    seconds = _timed(model, preset)
    write_json(file, {"of": wanted, "seconds": seconds})
    return Pace(seconds, preset.reply, f"measured just now on {MEASURED_ON} replies")


def _timed(model: PersonaModel, preset: Preset) -> float:
    """Seconds a reply, written and read once."""
    from persona_lens.evals.answering import Answerer  # noqa: PLC0415
    from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415

    question = load_identity_questions()[0].text
    items = [
        Item.asked(role.name, question, system=role.prompts[0])
        for role in load_identity_roles()[:MEASURED_ON]
    ]
    sampling = Sampling(max_new_tokens=preset.reply)
    answerer = Answerer(model, sampling, layer=model.n_layers // 2)
    prompts = [answerer.prompt(item) for item in items]
    model.generate(prompts[:1], sampling.model_copy(update={"max_new_tokens": 1}))
    started = time.perf_counter()
    replies = model.generate(prompts, sampling)
    answerer.means(
        [
            model.encoder.with_reply(prompt, reply.ids)
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
    )
    return (time.perf_counter() - started) / len(items)
