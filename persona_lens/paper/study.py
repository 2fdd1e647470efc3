"""`Study`: the model, its space and the folder of one report, as all of its stages see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_lens.evals.answering import space_key
from persona_lens.interventions.layers import layers_at_depth, paper_layers
from persona_lens.paper.presets import Preset
from persona_lens.rollouts.sampling import Sampling
from persona_lens.runs.store.folder import RunFolder
from persona_lens.space import Space
from persona_lens.transcripts.defaults import PLAIN_TEMPLATE

if TYPE_CHECKING:
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.evals.conditions import Condition
    from persona_lens.evals.evaluation import Evaluated, Evaluation
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.serving import ServedSource
    from persona_lens.runs.engines.engine import Engine

RUN, SPACE, BASE_RUN, BASE_SPACE = "run", "space", "base_run", "base_space"


@dataclass(eq=False)
class Study:
    """What one report is about.

    Attributes:
        model: Is studied.
        preset: How much is asked.
        out: Folder of everything.
        given: A space that is there already; then no roles and traits are collected.
        base: Its base model.
        others: Spaces of other models, for what the paper compares across models.
        items: Table of requests with harm in it, which this package does not bring.
        judge: A language model behind a server that judges; without one programs and likelihoods do.
        engine: Workers that answer and read in place of the model.
        served: A server that answers where nothing acts.
        progress: Show progress bars.
        caps: Nothing, and every cap with its controls, once they are matched.
    """

    model: PersonaModel
    preset: Preset
    out: Path
    given: Space | None = None
    base: PersonaModel | None = None
    others: Mapping[str, Space] = field(default_factory=dict)
    items: Path | None = None
    judge: EndpointSettings | None = None
    engine: Engine | None = None
    served: ServedSource | None = None
    progress: bool = True
    caps: list[Condition] = field(default_factory=list, init=False, repr=False)

    @cached_property
    def space(self) -> Space:
        """The space of the model: the given one, or that of its run.

        Raises:
            SpaceError: It is not fitted yet.
        """
        return Space.load(self.out / SPACE) if self.given is None else self.given

    @cached_property
    def base_space(self) -> Space | None:
        """The space that the base model has read; None if it has not."""
        folder = self.out / BASE_SPACE
        return Space.load(folder) if (folder / "card.json").is_file() else None

    @property
    def run(self) -> RunFolder:
        """Where its replies lie, if it was not given a space."""
        return RunFolder(self.out / RUN)

    @property
    def layer(self) -> int:
        """The layer of the figures: the paper's in its own models, else the middle one."""
        n_layers = self.model.n_layers
        named = paper_layers(self.model.name, n_layers, "steer")
        wanted = n_layers // 2 if named is None else named[0]
        known = self.space.layers_
        return min(known, key=lambda layer: abs(layer - wanted))

    @property
    def without_template(self) -> str:
        """Why the model cannot be talked to; empty if it can."""
        plain = self.model.encoder.template == PLAIN_TEMPLATE
        return "the model has no chat template, so it cannot be talked to" if plain else ""

    @property
    def capped_layers(self) -> tuple[tuple[int, ...], ...]:
        """Ranges of layers that are capped, the recommended one first: the paper's in its own models."""
        ranges = [layers_at_depth(depth, self.model.n_layers) for depth in self.preset.depths]
        named = paper_layers(self.model.name, self.model.n_layers)
        return tuple(dict.fromkeys([*([] if named is None else [named]), *ranges]))

    def sampling(self, tokens: int | None = None, temperature: float = 0.7) -> Sampling:
        """Of replies; so long as the preset says by default."""
        return Sampling(max_new_tokens=tokens or self.preset.reply, temperature=temperature)

    def placing(self) -> dict[str, Any]:
        """For `evaluate`: read replies on the axis, where the space knows how far those of the default spread."""
        calibration = self.space.calibration_
        known = calibration is not None and "axis" in calibration.directions
        return {"space": self.space, "layer": self.layer} if known else {}

    def evaluated(
        self, name: str, evaluation: Evaluation, conditions: Sequence[Any], **options: Any
    ) -> Evaluated:
        """An evaluation, kept in the folder of that name: the same call continues, or finds it finished."""
        from persona_lens.evals.evaluation import evaluate  # noqa: PLC0415 - slow to load

        return evaluate(
            evaluation,
            options.pop("model", self.model),
            conditions,
            **{
                "batch_size": self.preset.batch,
                "out": self.out / name,
                "progress": self.progress,
                "engine": self.engine,
                "served": self.served,
                **options,
            },
        )

    def settings(self) -> dict[str, Any]:
        """What decides the results, as plain data: a folder keeps to it."""
        return {
            "model": self.model.card(),
            "preset": _plain(self.preset),
            "space": None if self.given is None else space_key(self.given),
            "base": None if self.base is None else self.base.card(),
            "others": {name: space_key(other) for name, other in self.others.items()},
            "items": None if self.items is None else str(self.items),
            "judge": None if self.judge is None else self.judge.card(),
            "served": None if self.served is None else self.served.conditions(),
        }


def _plain(preset: Preset) -> dict[str, Any]:
    told = {name: value for name, value in vars(preset).items() if name != "collection"}
    loaded = preset.collection.loaded()
    return {
        **told,
        "collection": {
            "roles": [each.name for each in loaded.roles],
            "traits": [each.name for each in loaded.traits],
            "questions": [each.id for each in loaded.questions],
            "sampling": loaded.sampling.model_dump(),
            "prompts": loaded.prompts,
            "default_samples": loaded.default_samples,
            "layers": None if loaded.layers is None else list(loaded.layers),
        },
    }
