"""Conversations as programs for chats and evaluations save them: Inspect, Neuronpedia, ChatGPT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from persona_lens.conversations.found import Found
from persona_lens.conversations.report import Refused
from persona_lens.conversations.treatment import Treatment

_ATTACHED = ("attachment://", "tc://")
_KNOWN = ("epoch", "target", "choices", "scores", "metadata", "limit", "uuid")
"""What a sample says of itself; all else repeats the conversation, or tells how it was run."""


def is_inspect_log(record: Any) -> bool:
    """Whether it is a log of Inspect in one file."""
    return (
        isinstance(record, Mapping)
        and isinstance(record.get("eval"), Mapping)
        and ("samples" in record or "plan" in record)
    )


def inspect_head(log: Mapping[str, Any]) -> dict[str, Any]:
    """What the head of a log of Inspect says of all its samples: model and task."""
    head = log.get("eval")
    if not isinstance(head, Mapping):
        return {}
    return {name: head[name] for name in ("model", "task", "run_id") if name in head}


def inspect_sample(sample: Any, head: Mapping[str, Any]) -> Iterator[Found]:
    """The conversation of a sample: its messages, with its id and epoch as a name.

    Scores, target, metadata and the like are what is known of it; events and store are left behind. A sample that
    failed is read as far as it went, and noted.
    """
    if not isinstance(sample, Mapping) or not isinstance(sample.get("messages"), list):
        raise Refused(
            "sample without messages",
            "the sample has no messages",
            given=f"fields {', '.join(map(str, sample))}"
            if isinstance(sample, Mapping)
            else type(sample).__name__,
            remedy="it may have failed before the first message: see its error",
        )
    rest = {name: sample[name] for name in _KNOWN if name in sample}
    number, epoch = sample.get("id"), sample.get("epoch")
    name = None if number is None else f"{number}" + ("" if epoch is None else f"_epoch_{epoch}")
    error = sample.get("error")
    if isinstance(error, Mapping):
        rest["error"] = error.get("message")
    attached = sample.get("attachments") or {}
    messages = [_resolved(message, attached) for message in sample["messages"]]
    notes = ("sample that failed before its end",) if error else ()
    yield Found(messages, {**head, **rest}, id=name, notes=notes)


def _resolved(value: Any, attached: Mapping[str, str]) -> Any:
    """The same with what stands elsewhere in the sample put in its place."""
    if isinstance(value, str) and value.startswith(_ATTACHED):
        key = value.split("://", 1)[1]
        if key not in attached:
            raise Refused(
                "missing attachment",
                "what a message refers to is not in the sample",
                given=value[:60],
                remedy="write the log again with `inspect log convert --resolve-attachments`",
            )
        return attached[key]
    if isinstance(value, Mapping):
        return {
            key: _resolved(each, attached)
            for key, each in value.items()
            if key in ("role", "content", "text", "reasoning", "type", "tool_calls", "refusal")
        }
    return [_resolved(each, attached) for each in value] if isinstance(value, list) else value


def is_neuronpedia(record: Any) -> bool:
    """Whether it is a chat as the Assistant Axis page of Neuronpedia downloads it."""
    return (
        isinstance(record, Mapping)
        and {"defaultConversation", "steeredConversation"} & set(record) != set()
    )


def neuronpedia(record: Mapping[str, Any], treatment: Treatment) -> Iterator[Found]:
    """The two columns of a download, each a conversation whose `arm` is default or steered.

    The page downloads `modelId, timestamp, defaultConversation, steeredConversation, settings, chartData,
    assistantAxis`. What it drew (the last two, with projections by another method) is left behind, the rest is
    known of both.
    """
    names = {"modelId": "model", "timestamp": "timestamp", "settings": "settings"}
    about = {new: record[old] for old, new in names.items() if old in record}
    stem = record.get("timestamp")
    for arm in ("default", "steered"):
        messages = record.get(f"{arm}Conversation")
        if messages is None:
            continue
        yield Found(
            messages,
            {**about, "arm": arm},
            id=f"{stem}-{arm}" if isinstance(stem, str) and stem.strip() else None,
            suffix=f"-{arm}",
            place=f"{arm}Conversation",
            notes=("what the page drew (chartData, assistantAxis), left out",)
            if {"chartData", "assistantAxis"} & set(record)
            else (),
        )


def is_chatgpt(record: Any) -> bool:
    """Whether it is a conversation of ChatGPT's export: a tree of messages."""
    return isinstance(record, Mapping) and isinstance(record.get("mapping"), Mapping)


def chatgpt(record: Mapping[str, Any], treatment: Treatment) -> Iterator[Found]:
    """The branch of the tree that was shown last; messages that were never shown are left out.

    Raises:
        Refused: The branch cannot be followed.
    """
    rest = {
        name: value for name, value in record.items() if name not in ("mapping", "current_node")
    }
    nodes, node = record["mapping"], record.get("current_node")
    path: list[Mapping[str, Any]] = []
    seen: set[Any] = set()
    if node is None:
        raise _branch("there is no current_node, which says what branch was shown", None)
    while node is not None:
        if node in seen or not isinstance(nodes.get(node), Mapping):
            raise _branch("the branch that was shown last cannot be followed", node)
        seen.add(node)
        path.append(nodes[node])
        node = nodes[node].get("parent")
    # The root of the tree has no message.
    held = [each["message"] for each in reversed(path) if isinstance(each.get("message"), Mapping)]
    shown = [message for message in map(_chatgpt_message, held) if message is not None]
    notes = []
    if len(nodes) > len(path):
        notes.append("branches of a tree that were not shown last, left out")
    if len(held) > len(shown):
        notes.append("messages that were never shown, left out")
    yield Found(shown, rest, notes=tuple(notes))


def _chatgpt_message(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """Who spoke and what, as other logs have it; None for what was never shown."""
    content = message.get("content")
    kind = content.get("content_type") if isinstance(content, Mapping) else None
    role = (message.get("author") or {}).get("role")
    hidden = (message.get("metadata") or {}).get("is_visually_hidden_from_conversation")
    if hidden or kind in ("user_editable_context", "model_editable_context"):
        return None
    if role == "assistant" and message.get("recipient", "all") != "all":
        role = "tool"  # what a model wrote to a tool
    if kind in ("thoughts", "reasoning_recap"):
        return {"role": role, "content": [{"type": "reasoning"}]}
    parts = content.get("parts", content.get("text")) if isinstance(content, Mapping) else content
    if role == "system" and (not parts or parts == [""]):
        return None
    if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
        parts = "\n".join(parts)
    return {"role": role, "content": parts}


def _branch(problem: str, node: Any) -> Refused:
    return Refused(
        "broken tree",
        problem,
        expected="current_node, and a parent for each node up to the root",
        given=None if node is None else repr(node),
        remedy="export the chats again",
    )
