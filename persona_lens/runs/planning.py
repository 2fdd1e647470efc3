"""The manifest of a collection: what will be asked, who answers, who reads, before anything runs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from persona_lens.catalog import load_defaults, load_questions, load_roles, load_traits
from persona_lens.catalog.origin import folders_with_defaults
from persona_lens.catalog.schema import TraitQuestions
from persona_lens.errors import RunError
from persona_lens.notebook import facts_html
from persona_lens.rollouts.plan import Shard, plan_shards
from persona_lens.rollouts.sampling import Sampling
from persona_lens.runs.engines.reading import POOLING, Tokens
from persona_lens.runs.engines.worker import Asked, WorkerFacts
from persona_lens.runs.store.manifest import Manifest

if TYPE_CHECKING:
    from persona_lens.catalog import Role, Trait

_LONGEST_CHECKED = 50
_PARTS_CHECKED = 1000
_TOLD = 8
"""Names that a plan tells of itself; more of them are counted."""
_VERSIONED = ("persona-lens", "torch", "transformers", "transformer-lens", "numpy")


@dataclass(frozen=True)
class Writer:
    """Who writes the replies of a run.

    Attributes:
        name: What it is told its name is, as in "You are {model_name}.".
        conditions: What decides its replies besides shard and sampling, under `model` or `server`.
        facts: For the record alone, beside the versions.

    Examples:
        >>> Writer("qwen3", {"server": {"model": "qwen3"}}, {"server": "127.0.0.1"}).name
        'qwen3'
    """

    name: str
    conditions: Mapping[str, Any]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class CollectionPlan:
    """All that decides what a collection asks, how replies are sampled, and what of them is read.

    Entries are given as their loaders take them, and read when the plan is carried out, or by `loaded` before.

    Attributes:
        roles: What `persona_lens.catalog.load_roles` takes: "core", "full", names, dicts, files.
        traits: Likewise.
        questions: Likewise; plain sentences too.
        defaults: Likewise; their mean enters the axis with full weight. A folder of roles that brings default
            prompts of its own does not replace these, and is warned about. `{model_name}` in a prompt becomes the
            family's name (Gemma, Qwen, Llama, Mistral), of other models the name they were loaded by.
        prompts: System prompts of each role and trait to use, from the first; all by default.
        default_samples: Replies of the default Assistant to each question under each of its prompts.
        trait_questions: `shared`, or `own` for those each trait brings.
        sampling: The paper's temperature and top-p by default.
        layers: Blocks to read; all by default.
        tokens: `answer`, or `paper` for exact replication of the paper's code: the tokens it averages
            (`persona_lens.transcripts.paper_span`), prompts and model name as it writes them; recorded on the
            card, and plans of the space then touch every token, in multiples of the stored vector.
        batch_size: Replies sampled at a time.
        token_budget: Tokens of a reading batch; by default what suits the device.

    Raises:
        RunError: Batches without a reply.

    Examples:
        >>> plan = CollectionPlan(roles=["pirate", "ghost"], traits=None, prompts=2).loaded()
        >>> [role.name for role in plan.roles], plan.sampling.temperature
        (['pirate', 'ghost'], 0.7)
    """

    roles: Any = "core"
    traits: Any = "core"
    questions: Any = "core"
    defaults: Any = "core"
    prompts: int | None = None
    default_samples: int = 4
    trait_questions: TraitQuestions = "shared"
    sampling: Sampling = field(default_factory=Sampling)
    layers: Sequence[int] | None = None
    tokens: Tokens = "answer"
    batch_size: int = 64
    token_budget: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampling", self.sampling or Sampling())  # None is the default too
        if self.batch_size < 1:
            raise RunError("a batch needs replies", expected="at least 1", given=self.batch_size)

    def __repr__(self) -> str:
        return f"CollectionPlan({', '.join(f'{k}={v}' for k, v in self._told().items())})"

    def _repr_html_(self) -> str:
        return facts_html("Collection plan", self._told())

    def _told(self) -> dict[str, str]:
        """What is asked; entries that are read are counted, as they are long."""
        told = {}
        for each in fields(self):
            value = getattr(self, each.name)
            many = isinstance(value, list | tuple) and len(value) > _TOLD
            read = isinstance(value, list | tuple) and not all(
                isinstance(entry, str | int) for entry in value
            )
            told[each.name] = f"{len(value):,} entries" if many or read else repr(value)
        return told

    def loaded(self) -> CollectionPlan:
        """The same plan with its entries read, so that what is wrong with them shows now.

        Raises:
            CatalogError: Unknown or malformed entries.
        """
        return replace(
            self,
            roles=load_roles(self.roles),
            traits=load_traits(self.traits),
            questions=load_questions(self.questions),
            defaults=load_defaults(self.defaults),
        )

    def shards(self, model_name: str) -> tuple[Shard, ...]:
        """All that is asked, in order.

        Args:
            model_name: What the model is told its name is.

        Raises:
            RunError: Nothing to ask.
            CatalogError: Unknown or malformed entries.

        Examples:
            >>> plan = CollectionPlan(roles=["pirate", "ghost", "tutor"], traits=None, prompts=1)
            >>> [shard.key for shard in plan.shards("me") if shard.kind == "role"]
            ['role-pirate-p0', 'role-ghost-p0', 'role-tutor-p0']
        """
        read = self.loaded()
        return plan_shards(
            read.roles,
            read.traits,
            read.questions,
            read.defaults,
            model_name=model_name,
            prompts=self.prompts,
            default_samples=self.default_samples,
            trait_questions=self.trait_questions,
        )

    def manifest(self, writer: Writer, reader: WorkerFacts | None) -> Manifest:
        """What a run of this plan is.

        Args:
            writer: Who writes the replies.
            reader: Facts of the model that reads; None if replies are only collected.

        Raises:
            RunError: Nothing to ask, no layers to read, or no such choice of tokens.
            CatalogError: Unknown or malformed entries.
        """
        read, tokens = self.loaded(), self.tokens
        if self.defaults == "core":
            _warn_of_other_defaults(self.roles)
        if tokens not in POOLING:
            raise RunError(
                "no such choice of tokens", expected=" or ".join(POOLING), given=repr(tokens)
            )
        layers = () if reader is None else _chosen_layers(self.layers, reader)
        return Manifest(
            conditions={**writer.conditions, "sampling": self.sampling.model_dump()},
            reader={} if reader is None else {**reader.reader, **_unlike_default(tokens)},
            reader_key="" if reader is None else _reader_key(reader, layers, writer, tokens),
            layers=layers,
            shards=read.shards(writer.name),
            about=_about(read.roles, read.traits),
            versions={**_versions(), **writer.facts},
        )


def _warn_of_other_defaults(roles: Any) -> None:
    """The default has full weight in the axis: whoever brings roles with defaults should know whose are asked."""
    for folder in folders_with_defaults(roles):
        warnings.warn(
            f"the packaged default prompts are asked beside the roles of {folder}, which holds default prompts of "
            f'its own: take those with defaults="{folder}" (--defaults {folder})',
            stacklevel=5,  # of whoever calls collect_run
        )


def continued(wanted: Manifest, stored: Manifest) -> Manifest:
    """`wanted` as the manifest of a run that holds `stored` already.

    What the run was started with is kept, and so is its reader where `wanted` only collects replies.
    """
    # Whoever reads what a server has written may come later.
    added = {name: wanted.versions[name] for name in ("read_as",) if name in wanted.versions}
    kept: dict[str, Any] = {"versions": {**added, **stored.versions}}
    if not wanted.reader:
        kept |= {name: getattr(stored, name) for name in ("reader", "reader_key", "layers")}
    return wanted.model_copy(update=kept)


def asked_first(shards: Sequence[Shard], *, every_part: bool) -> list[Asked]:
    """The prompts of a plan to try before any is asked.

    Args:
        shards: The plan.
        every_part: Beside the longest, which are the first that may not fit a model, also some with every system
            prompt and every question: what a template refuses may be any of them.
    """
    asked = {pair for shard in shards for pair in shard.asked}
    longest = sorted(asked, key=lambda pair: -sum(map(len, pair)))[:_LONGEST_CHECKED]
    if not every_part:
        return longest
    by_part = {part: pair for pair in sorted(asked) for part in enumerate(pair)}
    every = list(dict.fromkeys(by_part.values()))
    return list(dict.fromkeys((*longest, *every[:: max(1, len(every) // _PARTS_CHECKED)])))


def _chosen_layers(layers: Sequence[int] | None, reader: WorkerFacts) -> tuple[int, ...]:
    chosen = tuple(range(reader.n_layers)) if layers is None else tuple(sorted(set(layers)))
    if not chosen:
        raise RunError("no layers to read", expected="at least one layer")
    return chosen


def _unlike_default(tokens: Tokens) -> dict[str, str]:
    """Recorded only where it is not the usual, so that cards of earlier runs stay as they are."""
    return {} if tokens == "answer" else {"tokens": tokens}


def _reader_key(facts: WorkerFacts, layers: Sequence[int], writer: Writer, tokens: Tokens) -> str:
    """A folder name that tells readers, templates, layers, tokens and ways of reading apart."""
    reader = str(facts.reader["model"])
    name = "".join(char if char.isalnum() else "-" for char in reader.lower())[-60:]
    as_text = "behind the prompt" if "server" in writer.conditions else ""
    what = f"{facts.reader_identity}{list(layers)}{as_text}"
    what += "".join(_unlike_default(tokens).values())
    return f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def _about(roles: Sequence[Role], traits: Sequence[Trait]) -> dict[str, dict[str, Any]]:
    about: dict[str, dict[str, Any]] = {
        "default-default": {"description": "The Assistant as it answers by itself"}
    }
    for role in roles:
        about[f"role-{role.name}"] = role.model_dump(
            include={"group", "description", "tags", "rubric", "eval_prompt"}
        )
    for trait in traits:
        about[f"trait-{trait.name}"] = trait.model_dump(
            include={"description", "tags", "rubric", "eval_prompt"}
        )
    return about


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _VERSIONED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            continue
    found["collected"] = time.strftime("%Y-%m-%d")
    return found
