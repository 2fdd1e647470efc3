"""What the options of `steer` add up to: one plan, and the model it is for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persona_lens.cli.options import parse_layers
from persona_lens.errors import SpaceError
from persona_lens.paths import check_path

if TYPE_CHECKING:
    from persona_lens.interop import Release
    from persona_lens.interventions import Plan
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.persona_space import PersonaSpace


of_files = partial(typer.Option, rich_help_panel="Files of others and of yours")


@dataclass(frozen=True)
class SteeringOptions:
    """What is to be done, and to which tokens: those of the plans themselves without `where` and `sinks`."""

    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=STRENGTH",
            help="Add assistant, pc1, a role or a trait, in multiples of --unit. Repeatable.",
        ),
    ] = None
    unit: Annotated[
        str | None,
        typer.Option(
            help="Of --add: residual (the mean residual norm; the default), spread (of the roles) or raw (the "
            "vector as it is stored, as in the paper's code). Named, residual is measured on neutral texts where "
            "it is not known."
        ),
    ] = None
    floor: Annotated[
        float | None, typer.Option(help="Keep the Assistant Axis at or above this percentile.")
    ] = None
    ceil: Annotated[
        float | None, typer.Option(help="Keep the Assistant Axis at or below this percentile.")
    ] = None
    ablate: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Project a direction out. Repeatable.")
    ] = None
    layers: Annotated[
        str | None,
        typer.Option(
            help="Such as 12-18, or paper; the middle one for --add, 0.7 to 0.9 of the depth for caps."
        ),
    ] = None
    release: Annotated[
        str | None,
        of_files(
            metavar="FOLDER", help="The paper's vectors: a folder, or OWNER/NAME/MODEL on the hub."
        ),
    ] = None
    cap: Annotated[
        str | None,
        of_files(
            metavar="EXPERIMENT|FILE",
            help="An experiment of --release, such as layers_46:54-p0.25, or a capping file.",
        ),
    ] = None
    experiment: Annotated[str | None, of_files(help="Of the file in --cap.")] = None
    saved: Annotated[
        Path | None,
        of_files(
            "--plan",
            metavar="FOLDER|FILE",
            parser=check_path,
            help="A plan saved with plan.save(folder) or `persona-lens plan`, of any format but capping-config.",
        ),
    ] = None
    where: Annotated[
        str | None,
        typer.Option(
            help="all, prompt, generated, last, system, user or assistant; all, and of --plan its own, by default."
        ),
    ] = None
    sinks: Annotated[
        bool,
        typer.Option(
            "--sinks", help="Touch BOS and attention sinks too, as the paper's code does."
        ),
    ] = False


@dataclass(frozen=True)
class Steering(SteeringOptions):
    """The options, and the space, release and plan they name; each is opened when it is first needed.

    Attributes:
        place: A saved space, a packaged one or the folder of a release.
    """

    place: str | None = None

    def plan(self, model: Callable[[], PersonaModel]) -> Plan:
        """Everything in the order the options are listed by `--help`.

        Args:
            model: Loads the model, for `--unit residual` in a space whose residual norms are not known.

        Raises:
            SpaceError: Nothing to do, or no space to do it with.
            InterventionError: No such experiment, layers or tokens.
        """
        parts = list(self._parts(model))
        if not parts:
            raise SpaceError(
                "nothing to do",
                expected="--add, --floor, --ceil, --ablate, --cap or --plan",
                remedy="see --help",
            )
        whole = parts[0]
        for part in parts[1:]:
            whole = whole + part
        return whole

    def model_name(self) -> str:
        """The model that space or release belong to.

        Raises:
            SpaceError: They do not say.
        """
        name = self.reader().get("model")
        if not name:
            raise SpaceError("the space does not know its model", remedy="give --model")
        return str(name)

    def reader(self) -> dict[str, Any]:
        """The card of the model that space or release were read with; empty where there is neither."""
        card: Any = {}
        if self._release is not None:
            card = self._release.card
        elif self.place is not None:
            card = self._space.table.card
        return card.get("reader", {})

    def _parts(self, model: Callable[[], PersonaModel]) -> Iterator[Plan]:
        parts = [*self._of_space(model), *([] if self.cap is None else [self._capped(self.cap)])]
        if self.saved is not None:
            from persona_lens.interop.plan_files import read_plan  # noqa: PLC0415

            parts.append(read_plan(self.saved))
        told = self.where is not None or self.sinks
        for part in parts:
            yield part.where(self.where or "all", sinks=self.sinks) if told else part

    def _of_space(self, model: Callable[[], PersonaModel]) -> Iterator[Plan]:
        chosen: dict[str, Any] = {}
        if self.layers is not None:
            layers = self.layers
            chosen["layers"] = layers if layers == "paper" else parse_layers(layers)
        for name, strength in map(parse_strength, self.add or ()):
            options = dict(chosen)
            if self.unit is not None:
                options["unit"] = self.unit
                unknown = self._space.token_calibration_ is None
                options["model"] = model() if self.unit == "residual" and unknown else None
            yield self._space.add(name, strength, **options)
        if self.floor is not None:
            yield self._space.floor(percentile=self.floor, **chosen)
        if self.ceil is not None:
            yield self._space.ceil(percentile=self.ceil, **chosen)
        for name in self.ablate or ():
            yield self._space.ablate(name, **chosen)

    def _capped(self, cap: str) -> Plan:
        if not Path(cap).is_file():
            if self._release is None:
                raise SpaceError(
                    "no such capping file",
                    expected="a file, or an experiment of --release",
                    given=cap,
                )
            return self._release.plan(cap)
        from persona_lens.interop.capping_config import read_capping_config  # noqa: PLC0415

        axis = None if self._release is None else self._release.axis
        if axis is None and self.place is not None:
            axis = self._space.direction("assistant")
        config = read_capping_config(Path(cap), axis)
        if self.experiment is None:
            raise SpaceError(
                "which experiment of the capping file?",
                expected=", ".join(list(config.experiments)[:5]),
                remedy="name it with --experiment",
            )
        return config.plan(self.experiment)

    @cached_property
    def _space(self) -> PersonaSpace:
        from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

        if self.place is None or self._is_release(self.place):
            if self._release is None:
                raise SpaceError(
                    "these options need a space",
                    remedy="name one before the question, or --release",
                )
            return self._release.space
        return PersonaSpace.load(check_path(self.place))

    @cached_property
    def _release(self) -> Release | None:
        from persona_lens.interop import read_release  # noqa: PLC0415

        named = self.release
        if named is None and self.place is not None and self._is_release(self.place):
            named = self.place
        if named is None:
            return None
        # Role vectors are a gigabyte on the hub: only what asks for a space asks for them.
        whole = bool(self.add or self.ablate or self.floor is not None or self.ceil is not None)
        parts = named.split("/")
        if len(parts) == 3 and not os.path.isdir(named):
            return read_release("/".join(parts[:2]), model=parts[2], vectors=whole)
        return read_release(named, vectors=whole)

    @staticmethod
    def _is_release(place: str) -> bool:
        from persona_lens.interop.release_files import looks_like_release  # noqa: PLC0415

        folder = check_path(place)
        return looks_like_release(folder) and not (folder / "card.json").is_file()


def parse_strength(text: str) -> tuple[str, float]:
    """Name and strength of one `--add`.

    Examples:
        >>> parse_strength("role:assistant=-0.25")
        ('role:assistant', -0.25)
    """
    name, _, strength = text.partition("=")
    try:
        return name, float(strength)
    except ValueError:
        raise SpaceError(
            "cannot read --add", expected="NAME=STRENGTH, such as pirate=0.1", given=text
        ) from None
