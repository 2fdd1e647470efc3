"""The README.md of a published space: what is in it, how far it can be trusted, how to open it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from persona_lens.interop.hub_files import is_repo_id, without_path
from persona_lens.persona_space import PersonaSpace
from persona_lens.space.layer import span

_ROWS = 6
_TAGS = ("persona-lens", "assistant-axis", "persona-vectors", "interpretability", "steering")


def model_card(
    space: PersonaSpace, *, repo_id: str | None = None, base_model: str | None = None
) -> str:
    """The text of README.md, YAML front matter first.

    Args:
        space: Fitted.
        repo_id: Where it will lie, for the example.
        base_model: Hub name of the model it belongs to; by default that of the model that read the replies, if
            this is a hub name.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(1, 8)) for i in range(6)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8)), n_resamples=10).fit()
        >>> print(model_card(space, base_model="HuggingFaceTB/SmolLM2-135M-Instruct"))
        ---
        library_name: persona-lens
        base_model: HuggingFaceTB/SmolLM2-135M-Instruct
        tags:
        - persona-lens
        ...
    """
    model = without_path(str(space.table.card.get("reader", {}).get("model", "an unnamed model")))
    if base_model is None and is_repo_id(model):
        base_model = model
    name = base_model or model
    return "\n".join(
        [
            "---",
            "library_name: persona-lens",
            *([f"base_model: {base_model}"] if base_model else []),
            "tags:",
            *(f"- {tag}" for tag in _TAGS),
            "---",
            "",
            f"# Persona space of {name}",
            "",
            "Mean residual-stream vectors of the default Assistant, of roles and of traits, with the Assistant "
            "Axis and the principal components of the roles, at every layer. Safetensors and JSON; no pickle.",
            "",
            *(f"- **{title}**: {text}" for title, text in _facts(space).items()),
            "",
            "```python",
            "from persona_lens import PersonaSpace",
            "",
            f'space = PersonaSpace.from_pretrained("{repo_id or "this-folder"}")',
            f"space.ranking(layer={space.layers_[len(space.layers_) // 2]})",
            "```",
            "",
            "## How far to trust it",
            "",
            *_stability(space),
            "",
        ]
    )


def _facts(space: PersonaSpace) -> dict[str, str]:
    table = space.table
    card = table.card
    named = {
        kind: len({n for n, k in zip(table.names, table.kinds, strict=True) if k == kind})
        for kind in ("role", "trait")
    }
    replies = int(table.counts.sum())
    default = int(table.counts[table.indices(kind="default")].sum())
    facts = {
        "Vectors": f"1 default, {named['role']} roles, {named['trait']} traits",
        "Replies": f"{replies:,}, of them {default:,} of the default" if replies else "not known",
        "Layers": f"{span(space.layers_)}, counted as blocks from 0; width {table.d_model}",
        "Hook point": f"`{card.get('hook_point', 'not known')}`",
        "Pooling": str(card.get("pooling", "not known")),
        "Orientation": "axis = default - mean of the roles, so the Assistant is positive; components point along "
        "the axis",
        "Judge": _judge(card, table.labels),
        "Scaling before PCA": space.scaling,
    }
    if "source" in card:
        facts["Source"] = str(card["source"])
    return facts


def _judge(card: Any, labels: tuple[str, ...]) -> str:
    judge = card.get("judge")
    if not judge:
        return str(card.get("labels", "none: every reply counts"))
    return (
        f"{judge.get('key', 'not named')}: {labels.count('fully')} roles fully in role (the axis), "
        f"{labels.count('somewhat')} somewhat"
    )


def _stability(space: PersonaSpace) -> list[str]:
    """A Markdown table of a few layers."""
    frame = space.stability_
    chosen = np.unique(np.linspace(0, len(frame) - 1, _ROWS).round().astype(int))
    lines = [
        "| layer | cos(PC1, axis) [95 %] | null, a role as the default | axis, halves of questions | "
        "axis, halves of roles | PC1 variance | PCs for 70 % |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for place in chosen:
        row = frame.iloc[place]
        cells = (
            f"{int(row['layer'])}",
            f"{_number(row['cosine'])} [{_number(row['cosine_low'])}, {_number(row['cosine_high'])}]",
            f"below {_number(row['shuffled_95'])} in 95 %",
            _number(row["axis_questions"]),
            _number(row["axis_roles"]),
            f"{space.explained_variance_ratio_[place, 0]:.0%}",
            f"{space.n_components_70_[place]}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _number(value: float) -> str:
    return "not known" if math.isnan(value) else f"{value:.2f}"
