"""Inspect's model provider `persona-lens`: any Inspect task, on a model with a plan acting on it.

    inspect eval persona_lens/identity --model persona-lens/smollm2-135m-instruct \\
        -M space=smollm2-135m-instruct -M floor=75

    from inspect_ai import eval
    from persona_lens.harnesses.inspect_provider import inspect_model

    untouched = inspect_model(model, space=space)
    capped = inspect_model(model, space=space, plan=space.floor(percentile=75))
    logs = eval(task, model=[untouched, capped])
    logs[1].samples[0].output.metadata["persona_lens"]["choices"][0]["projection"]

`persona_lens.harnesses.inspect_setup` lists the arguments, `inspect_replies` what stands in the metadata of every
reply, `inspect_readings` makes a table of it. Samples that Inspect runs at the same time are answered in batches,
outside its event loop. At temperature 0 in float32 the replies are the same whatever the batches; in bfloat16
rounding tips some (of 48 replies of 32 tokens of the embedded model under a cap, 27 were others in batches of 32
than alone): where replies have to come again, `-M dtype=float32` or `-M batch_size=1`. Settings that cannot be
kept are refused. Without a system message the model gets none, not its template's own.
"""

from __future__ import annotations

import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    get_model,
)
from inspect_ai.model._cache import epoch as inspects_epoch
from inspect_ai.tool import ToolChoice, ToolInfo

from persona_lens.errors import EvaluationError, PersonaLensWarning
from persona_lens.harnesses.batcher import Batcher
from persona_lens.harnesses.inspect_messages import DEFAULT_TOKENS, spoken, wanted
from persona_lens.harnesses.inspect_replies import Answering, Asked
from persona_lens.harnesses.inspect_setup import OBJECT, set_up
from persona_lens.interventions.storage import plan_digest

if TYPE_CHECKING:
    from persona_lens.interventions.plan import Plan
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

PROVIDER = "persona-lens"
_OBJECTS = ("persona_model", "space", "plan")
_told_apart: ContextVar[bool] = ContextVar("persona_lens_told_apart", default=False)
"""Whether the model being made is not handed out again for other objects."""


class PersonaLensAPI(ModelAPI):
    """A `PersonaModel` behind Inspect's interface; made by `get_model` and `--model`.

    Args:
        model_name: What is loaded, behind `persona-lens/`.
        base_url: None; that of a log tells what was evaluated, and has to be met again.
        api_key: Not needed.
        config: Settings of all requests.
        model_args: See `persona_lens.harnesses.inspect_setup`.

    Raises:
        EvaluationError: An argument that is not known, or a plan in force, which would not act.
        PersonaLensError: What it names cannot be loaded, or does not fit together.

    Warns:
        PersonaLensWarning: Objects are given to `get_model`, which does not tell them apart.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - as Inspect has it
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        objects = [name for name in _OBJECTS if not isinstance(model_args.get(name), str | None)]
        self.setup = set_up(model_name, model_args)
        _refuse_plans_in_force(self.setup.model)
        if objects and not _told_apart.get():
            warnings.warn(
                f"get_model('{PROVIDER}/{model_name}', ...) gives this model again whatever other objects come as "
                f"{' and '.join(objects)}: use inspect_model(...), or memoize=False",
                PersonaLensWarning,
                stacklevel=2,
            )
        # Part of the key of Inspect's cache, which does not look at arguments: a plan has replies of its own.
        self.base_url = f"{PROVIDER}:{self.setup.digest()}"
        if base_url is not None and base_url != self.base_url:
            raise EvaluationError(
                "this is not the model that was evaluated, or an address that it does not have",
                expected=self.base_url,
                given=base_url,
                remedy="give the model, plan and space of that evaluation, and no address",
            )
        self._batcher = Batcher(Answering(self.setup, model_name), self.setup.batch_size)

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answer a conversation.

        Raises:
            EvaluationError: Tools, parts that are no text, a setting that cannot be kept, or a plan in force.
            TranscriptError: The template refuses the messages.
        """
        _refuse_plans_in_force(self.setup.model)
        asked = Asked(spoken(input, tools), wanted(config, inspects_epoch.get(1)))
        return await self._batcher.ask(asked)

    async def count_text_tokens(self, text: str) -> int:
        """Tokens of a text, template left out."""
        return len(await self.tokenize(text))

    async def tokenize(self, text: str) -> list[int]:
        """Ids of a text by itself."""
        return self.setup.model.encoder.plain_ids(text)

    def max_tokens(self) -> int:
        """Of a reply, where nobody says."""
        return DEFAULT_TOKENS

    def max_connections(self) -> int:
        """As many samples at a time as a batch has."""
        return self.setup.batch_size

    def collapse_user_messages(self) -> bool:
        """Templates take turns."""
        return True

    def collapse_assistant_messages(self) -> bool:
        """Templates take turns."""
        return True

    def collapse_system_messages(self) -> bool:
        """Templates have one system message."""
        return True


def inspect_model(
    model: PersonaModel,
    *,
    plan: Plan | None = None,
    space: Space | None = None,
    name: str | None = None,
    config: GenerateConfig | None = None,
    **arguments: Any,
) -> Model:
    """A model you hold, for Inspect's `eval`; every call gives one of its own.

    Args:
        model: Answers.
        plan: Acts on it meanwhile.
        space: On whose axis replies are read.
        name: In logs, behind `persona-lens/`; the model's own by default.
        config: Settings of all requests.
        arguments: See `persona_lens.harnesses.inspect_setup`; `floor` and the like need the space.

    Raises:
        EvaluationError: As for `PersonaLensAPI`.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> found = inspect_model(model, space="smollm2-135m-instruct", floor=75)
        >>> str(found), found.api.setup.plan_name
        ('persona-lens/smollm2-135m-instruct', 'floor 75')
    """
    given = {"persona_model": model, "plan": plan, "space": space, **arguments}
    given = {key: value for key, value in given.items() if value is not None}
    told = _told_apart.set(True)
    try:
        found = get_model(
            f"{PROVIDER}/{name or model.name}",
            config=config or GenerateConfig(),
            memoize=False,
            **given,
        )
    finally:
        _told_apart.reset(told)
    # Logs keep these words instead of nothing, and an evaluation that is retried from one is told what it lacks.
    found.model_args = {key: _in_words(value) for key, value in given.items()}
    return found


def _in_words(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | list | tuple | dict):
        return value
    digest = f" {plan_digest(value)}" if hasattr(value, "steps") else ""
    return f"{OBJECT}{type(value).__name__}{digest}"


def _refuse_plans_in_force(model: PersonaModel) -> None:
    """Refuse what would not act: requests are answered in another thread.

    Raises:
        EvaluationError: A plan is in force in this thread.
    """
    if model.interventions.active:
        raise EvaluationError(
            "a plan is in force here that would not act on Inspect's requests",
            expected="the plan as an argument",
            given="an evaluation within `with model.intervene(...)`",
            remedy="leave the block, and use inspect_model(model, plan=...)",
        )
