"""`PersonaSpace`: a space with all that is made of it, from the collection to the page.

    space = PersonaSpace.collect(model, roles="core", traits="core", run="runs/first").fit()
    space.map(layer=20).show()
    space.project("pirate", layer=20)

What a space is and how it is asked stands in `persona_lens.space.space`; the rooms that do the work are loaded on
use.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from typing_extensions import Self

from persona_lens.catalog.schema import TraitQuestions
from persona_lens.persona_space.analysed import AnalysedSpace
from persona_lens.persona_space.drawn import DrawnSpace
from persona_lens.rollouts.sampling import Sampling
from persona_lens.runs.engines.reading import Tokens
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.vectors import MIN_COUNT, FoldBy, vector_table
from persona_lens.statistics.pca import Scaling

if TYPE_CHECKING:
    from persona_lens.judges import Judge
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.serving import ServedSource
    from persona_lens.runs.engines.engine import Engine


class PersonaSpace(DrawnSpace, AnalysedSpace):
    """Persona space of one model: collected, fitted at all layers at once, shown and analysed.

    Parameters and attributes are those of `persona_lens.space.space.Space`.

    Examples:
        >>> space = PersonaSpace.load("smollm2-135m-instruct")
        >>> space.axis_.shape
        (30, 576)
    """

    # Ways to come by a space ------------------------------------------------------------------------

    @classmethod
    def collect(
        cls,
        model: PersonaModel,
        *,
        run: str | Path | None = None,
        judge: Judge | None = None,
        min_count: int = MIN_COUNT,
        roles: Any = "core",
        traits: Any = "core",
        questions: Any = "core",
        defaults: Any = "core",
        prompts: int | None = None,
        default_samples: int = 4,
        trait_questions: TraitQuestions = "shared",
        sampling: Sampling | None = None,
        layers: Sequence[int] | None = None,
        tokens: Tokens = "answer",
        batch_size: int = 64,
        token_budget: int | None = None,
        reader: PersonaModel | None = None,
        engine: Engine | None = None,
        served: ServedSource | None = None,
        retry_failed: bool = False,
        fork: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Have `model` play roles and traits, read its replies, and return the space, not yet fitted.

        Args:
            model: The model to play.
            run: Run folder; `runs/<model name>` by default. The same call continues what is there.
            judge: Labels the replies, so that the axis is made of those fully in role; nobody by default.
            min_count: Replies a label needs for a vector of its own.
            roles: "core", "full", names, dicts, files or a folder; None for none.
            traits: Likewise.
            questions: Likewise; plain sentences too.
            defaults: Likewise: system prompts of the default Assistant, which has full weight in the axis.
            prompts: System prompts of each role and trait to use, from the first; all by default.
            default_samples: Replies of the default Assistant to each question under each of its prompts.
            trait_questions: `shared`, or `own` for those each trait brings.
            sampling: The paper's temperature and top-p by default.
            layers: Blocks to read; all by default.
            tokens: Tokens of a reply that are averaged: `answer`, or `paper` as the paper's code takes them.
            batch_size: Replies sampled at a time.
            token_budget: Tokens of a reading batch; by default what suits the device.
            reader: Another model to read the replies with, for example the base model of `model`.
            engine: Works on the shards; this process by default.
            served: A server that writes the replies, so that `model` only reads them.
            retry_failed: Ask the server again where an earlier request failed.
            fork: Collect into this new folder instead, starting with whatever of `run` still holds.
            progress: Show an estimate and progress bars on standard error.

        Raises:
            PersonaLensError: As `persona_lens.runs.collect_run` and `persona_lens.runs.judging.judge_run`.

        Source: paper section 2.1.
        """
        from persona_lens.runs.collecting import collect_run  # noqa: PLC0415
        from persona_lens.runs.judging import judge_run  # noqa: PLC0415

        folder = Path("runs") / model.name.replace("/", "--") if run is None else Path(run)
        finished = collect_run(
            model,
            folder,
            roles=roles,
            traits=traits,
            questions=questions,
            defaults=defaults,
            prompts=prompts,
            default_samples=default_samples,
            trait_questions=trait_questions,
            sampling=sampling,
            layers=layers,
            tokens=tokens,
            batch_size=batch_size,
            token_budget=token_budget,
            reader=reader,
            engine=engine,
            served=served,
            retry_failed=retry_failed,
            fork=fork,
            progress=progress,
        )
        key = None if judge is None else judge_run(finished, judge, progress=progress).key
        return cls.from_run(finished.path, judge=key, min_count=min_count, reader=reader or model)

    @classmethod
    def from_run(
        cls,
        run: str | Path,
        *,
        judge: str | None = None,
        min_count: int = MIN_COUNT,
        fold_by: FoldBy = "questions",
        only_fully: bool = False,
        scaling: Scaling = "center",
        n_components: int | None = None,
        n_resamples: int = 200,
        seed: int = 0,
        axis: Float[np.ndarray, "layer d_model"] | None = None,
        reader: PersonaModel | None = None,
    ) -> Self:
        """The space of a finished run.

        Args:
            run: Run folder.
            judge: Name of a judge that has labelled it, such as "likelihood": the axis is then made of replies
                fully in role, and PCA of those somewhat in role as well. Without, of all replies.
            min_count: Replies a label needs for a vector of its own; the paper's 10 by default.
            fold_by: What the folds are made of that halves and intervals come from: `questions` or `prompts`.
            only_fully: Leave vectors of replies somewhat in role out of PCA too.
            scaling: Of the constructor, as are all below: `center`, `zscore` or `l2` before PCA.
            n_components: Kept a layer, at most 64 by default.
            n_resamples: Draws behind intervals and nulls.
            seed: Of those draws.
            axis: Another axis than default minus roles.
            reader: The model that read the run; calibrates on single tokens too.

        Raises:
            RunError: No run there, or it is not finished, or not labelled by that judge.
        """
        table = vector_table(RunFolder(run), judge=judge, min_count=min_count, fold_by=fold_by)
        return cls(
            table.without("somewhat") if only_fully else table,
            scaling=scaling,
            n_components=n_components,
            n_resamples=n_resamples,
            seed=seed,
            axis=axis,
            run=run,
            reader=reader,
        )

    # For others -------------------------------------------------------------------------------------

    def save_pretrained(
        self, folder: str | Path, *, repo_id: str | None = None, base_model: str | None = None
    ) -> Path:
        """Save for others, with a model card and without paths; see `persona_lens.interop.save_pretrained`.

        Args:
            folder: New, or one to write over.
            repo_id: Where it will lie; only the README's example names it.
            base_model: Hub name of the model it belongs to, for the README; of embedded models it is known.

        Raises:
            SpaceError: Not fitted.
        """
        from persona_lens.interop import save_pretrained  # noqa: PLC0415

        base_model = base_model or self._base_model()
        return save_pretrained(self, folder, repo_id=repo_id, base_model=base_model)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        base_model: str | None = None,
        revision: str | None = None,
        commit_message: str = "Persona space",
    ) -> str:
        """Upload to the Hugging Face hub; more is said at `persona_lens.interop.push_to_hub`.

        Args:
            repo_id: Such as "me/persona-space-qwen3"; made if it is not there.
            private: For a repository that is made; an existing one stays as it is.
            base_model: As for `save_pretrained`.
            revision: Branch; the main one by default.
            commit_message: Of the upload.

        Returns:
            Address of the commit.

        Raises:
            SpaceError: Not fitted, no such name, or the hub refuses.
        """
        from persona_lens.interop import push_to_hub  # noqa: PLC0415

        return push_to_hub(
            self,
            repo_id,
            private=private,
            base_model=base_model or self._base_model(),
            revision=revision,
            commit_message=commit_message,
        )

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> PersonaSpace:
        """Open a space from a folder or from the Hugging Face hub."""
        from persona_lens.interop import from_pretrained  # noqa: PLC0415

        return from_pretrained(source, revision=revision)

    def _base_model(self) -> str | None:
        """The hub name of an embedded model, which its own name does not tell."""
        from persona_lens.model.embedded import EMBEDDED  # noqa: PLC0415

        known = EMBEDDED.get(self.model_name)
        return None if known is None else known.hub_id
