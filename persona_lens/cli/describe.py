"""What a run, a space or a model is, as tables for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from persona_lens.judges.base import Verdict
from persona_lens.model.embedded import EMBEDDED, embedded_status
from persona_lens.persona_space import PersonaSpace
from persona_lens.quantities import format_bytes
from persona_lens.rollouts.plan import n_requests
from persona_lens.runs.served.collecting import Tally
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import Labels, judge_keys
from persona_lens.runs.store.open_run import OpenRun
from persona_lens.runs.unlabelled import Unlabelled
from persona_lens.space.shipped import SHIPPED

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

_QUOTED = 3
_QUOTE_LENGTH = 160


def run(path: Path) -> RenderableType:
    """The plan of a run, how much of it is there, and a few replies."""
    opened = RunFolder(path).opened()
    manifest = opened.manifest
    with_replies = [shard for shard in opened.shards if opened.has_replies(shard)]
    read = [
        shard
        for shard in (opened.shards if manifest.reader else ())
        if opened.has_activations(shard)
    ]
    kinds = [shard.kind for shard in opened.shards]
    sampling = manifest.conditions["sampling"]
    thoughts = opened.thoughts()
    facts = {
        "written by": _written_by(manifest.conditions),
        "read by": manifest.reader.get("model", "nobody yet"),
        "plan": ", ".join(f"{kinds.count(kind)} {kind} shards" for kind in dict.fromkeys(kinds)),
        "replies": f"{n_requests(with_replies):,} of {n_requests(opened.shards):,}",
        "activations": f"{n_requests(read):,} of {n_requests(opened.shards):,}, "
        f"{len(manifest.layers)} layers",
        **({"thoughts": str(thoughts)} if thoughts.thinking else {}),
        "sampling": ", ".join(f"{key} {value}" for key, value in sampling.items()),
        "labelled by": _judged_by(opened),
        "on disk": format_bytes(
            sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        ),
    }
    if "server" in manifest.conditions:
        tally = Tally()
        for shard in with_replies:
            tally.count(opened.read_replies(shard))
        facts |= {"rendered by": manifest.versions.get("rendered_by", "unknown"), "of these": tally}
    shown: list[RenderableType] = [_facts(f"Run {path}", facts)]
    roles = [shard for shard in with_replies if shard.kind == "role"] or with_replies
    for shard in roles[:: max(1, len(roles) // _QUOTED)][:_QUOTED]:
        reply = opened.read_replies(shard)[0].text.strip()
        shown.append(Text(f"\n{shard.key}: {shard.requests[0].question}", style="bold"))
        shown.append(Text(reply[:_QUOTE_LENGTH] + ("…" if len(reply) > _QUOTE_LENGTH else "")))
    return Group(*shown)


def _judged_by(opened: OpenRun) -> str:
    """The judges of a run and what they have labelled; one that failed at every reply has labelled nothing."""
    judged = n_requests([shard for shard in opened.shards if shard.kind != "default"])
    done, failed = [], []
    for key in judge_keys(opened):
        found = Unlabelled.of(Labels(opened, key))
        lost, labelled = found.reasons.total(), found.answered + found.settled
        at = f"failed at {lost:,}" if lost else ""
        if not found.answered:
            failed.append(f"{key} {at or 'has not begun'}")
        elif labelled == judged:
            done.append(key)
        else:
            share = f"{labelled:,} of {judged:,} replies"
            done.append(f"{key} ({', '.join(filter(None, (share, at)))})")
    return "; ".join([", ".join(done) or "no judge", *failed])


def _written_by(conditions: Mapping[str, Any]) -> str:
    if "model" in conditions:
        return conditions["model"]["model"]
    return f"{conditions['server']['model']}, on a server"


def labels(given: Labels) -> RenderableType:
    """How many replies got which label, and what a calibrated judge's labels are worth."""
    counts: dict[str, Counter[str]] = {"role": Counter(), "trait": Counter()}
    for shard in given.run.shards:
        if shard.kind != "default" and given.has(shard):
            for verdict in given.read(shard):
                counts[shard.kind][_said(verdict)] += 1
    table = Table(title=f"Labels by {given.key}", title_justify="left")
    for column in ("of", "label", "replies", "share"):
        table.add_column(column, justify="left" if column in ("of", "label") else "right")
    for kind, found in counts.items():
        for label, count in found.most_common():
            table.add_row(f"{kind}s", label, f"{count:,}", f"{count / found.total():.0%}")
    held_out = (given.calibration() or {}).get("held_out", {})
    notes = [
        f"Of default replies the thresholds were not made from, {entry['rate']:.1%} "
        f"[{entry['low']:.1%}, {entry['high']:.1%}] are called {label}"
        f"{' or more' if label == 'somewhat' else ''} (n = {entry['count']:,})."
        for label, entry in held_out.items()
    ]
    without = Unlabelled.of(given)
    if without.reasons:
        notes.append(str(without))
    return Group(table, *(Text(note) for note in notes))


def _said(verdict: Verdict) -> str:
    if verdict.status != "ok":
        return f"none ({verdict.status})"
    if verdict.label is not None:
        return verdict.label
    if verdict.refused or verdict.score is None:
        return "refused" if verdict.refused else "no score"
    return "score above 50" if verdict.score > 50 else "score up to 50"


def space(path: Path) -> RenderableType:
    """What a space holds, and its main numbers at some layers."""
    opened = PersonaSpace.load(path)
    table = opened.table
    default_replies = int(table.counts[table.indices(kind="default")].sum())
    facts = {
        "model": table.card.get("reader", {}).get("model", "unknown"),
        "vectors": ", ".join(
            f"{len({n for n, k in zip(table.names, table.kinds, strict=True) if k == kind})} {kind}"
            for kind in ("default", "role", "trait")
        ),
        "replies": f"{int(table.counts.sum()):,}, of them {default_replies:,} default",
        "labels": _labels_of(opened),
        "hook point": table.card.get("hook_point", "unknown"),
        "scaling": opened.scaling,
    }
    return Group(_facts(f"Space {path}", facts), layer_table(opened))


def _labels_of(opened: PersonaSpace) -> str:
    card = opened.table.card
    if not card.get("judge"):
        return "no judge"
    labels = opened.table.labels
    below = card["below_minimum"]
    text = (
        f"{card['judge']['key']}; {labels.count('fully')} roles fully, {labels.count('somewhat')} "
        f"somewhat in role, at least {card['min_count']} replies each"
    )
    missing = [entry for entry in below if entry["label"] == "fully"]
    if missing:
        listed = ", ".join(f"{entry['name']} ({entry['count']})" for entry in missing)
        text += f". Too few fully: {listed}; ask more questions or lower min_count"
    return text


def layer_table(opened: PersonaSpace, rows: int = 8) -> Table:
    """Axis, PC1 and stability at evenly spaced layers."""
    table = Table(
        title="By layer",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption="Nulls: 95th percentile of cos(PC1, axis) with a role in the default's place, and of random "
        "directions. Halves: cosine of the axes from two halves of the questions, with 95 % of the splits.",
        caption_justify="left",
    )
    for column in (
        "layer",
        "cos(PC1, axis)\n[95 %]",
        "null:\nrole",
        "null:\nrandom",
        "axis, halves of\nquestions",
        "PC1",
        "PCs,\n70 %",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    frame = opened.stability_
    step = max(1, len(frame) // rows)
    for place in sorted({*range(step - 1, len(frame), step), len(frame) - 1}):
        row = frame.iloc[place]
        table.add_row(
            str(int(row["layer"])),
            f"{row['cosine']:.2f} [{row['cosine_low']:.2f}, {row['cosine_high']:.2f}]",
            f"{row['shuffled_95']:.2f}",
            f"{row['random_95']:.2f}",
            f"{row['axis_questions']:.2f} [{row['axis_questions_low']:.2f}, "
            f"{row['axis_questions_high']:.2f}]",
            f"{opened.explained_variance_ratio_[place, 0]:.0%}",
            str(opened.n_components_70_[place]),
        )
    return table


def model(name: str, loaded: PersonaModel) -> RenderableType:
    """Shape, hook points, chat template and attention sinks of a model."""
    encoder = loaded.encoder
    template = (
        "its own"
        if encoder.has_template
        else "none: plain turns stand in (User: ... Assistant: ...)"
    )
    injected = f"yes: {encoder.injected_text!r}" if encoder.injected_text else "avoided"
    facts = {
        **{key.replace("_", " "): value for key, value in loaded.card().items()},
        "hook points": f"{loaded.hook_name(0)} to {loaded.hook_name(loaded.n_layers - 1)}",
        "chat template": template,
        "system role": "yes"
        if encoder.supports_system
        else "no, the text goes before the user turn",
        "injected system text": injected if encoder.injects_system else "none",
        "replies end with": ", ".join(loaded.tokenizer.convert_ids_to_tokens(list(loaded.end_ids))),
        "attention sinks": ", ".join(
            f"position {position}, {ratio:.0f} times the median norm"
            for position, ratio in loaded.sinks.items()
        )
        or "none found",
    }
    return _facts(f"Model {name}", facts)


def models() -> RenderableType:
    """The embedded models, each on lines that fit into 80 columns with its name in one piece."""
    table = Table(
        title="Embedded models",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("name", no_wrap=True)
    for column in ("kind", "parameters", "download", "licence", "here"):
        table.add_column(column)
    for name, entry in EMBEDDED.items():
        status = embedded_status(name)
        table.add_row(
            name,
            entry.kind,
            f"{entry.parameters / 1e6:.0f} M",
            format_bytes(entry.download_bytes),
            entry.licence,
            format_bytes(status.bytes_on_disk) if status.present else "no, fetched on first use",
        )
    return Group(
        table,
        Text(
            "Any decoder model that TransformerLens loads works too: a hub name, a folder, a .gguf file."
        ),
        Text(f"Spaces that come with the package: {', '.join(SHIPPED)} (persona-lens info NAME)."),
    )


def _facts(title: str, facts: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in facts.items():
        table.add_row(key, str(value))
    return table
