"""What one message of a log says: its text, out of whatever its content is made of.

A content is a text, or a list of parts: texts (joined as chat templates join them, with nothing between),
thoughts, tool calls, images, sound, files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persona_lens.conversations.report import Refused
from persona_lens.conversations.treatment import Tally, Treatment

_TEXTS = ("text", "input_text", "output_text", "refusal", "summary_text")
_THOUGHTS = ("reasoning", "thinking", "redacted_thinking", "reasoning_text", "thought")
_TOOLS = (
    *("tool_use", "tool_result", "tool_call", "function_call", "function_call_output"),
    *("server_tool_use", "web_search_tool_result", "tool_reference", "mcp_tool_use"),
)
_MEDIA = (
    *("image", "image_url", "input_image", "image_asset_pointer", "audio", "input_audio"),
    *("audio_transcription", "audio_asset_pointer", "video", "video_url", "file", "input_file"),
    *("document", "data", "real_time_user_audio_video_asset_pointer"),
)
CALLS = ("tool_calls", "function_call", "tool_call", "toolCalls")
THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thoughts")


def text_of(content: Any, treatment: Treatment, tally: Tally, place: str) -> tuple[str, list[str]]:
    """The text of a content, and the thoughts in it.

    Args:
        content: A text or a list of parts.
        treatment: What to do about tools and media.
        tally: Gets what is cut.
        place: Of the message, for the tally.

    Raises:
        Refused: It is neither, or holds what is not to be dropped.
    """
    if isinstance(content, str):
        return content, []
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list | tuple):
        raise _no_text(content)
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        kind, said = _part(part)
        if kind == "text":
            texts.append(said)
        elif kind == "thought":
            thoughts.append(said)
        else:
            drop(kind, said, treatment, tally, place)
    return "".join(texts), thoughts


def drop(kind: str, said: str, treatment: Treatment, tally: Tally, place: str) -> None:
    """Drop a tool call or something that is no text, if that is wanted.

    Raises:
        Refused: It is not.
    """
    option = "tools" if kind == "tool" else "media"
    what = "tool message or call" if kind == "tool" else "image, sound or file"
    if getattr(treatment, option) == "refuse":
        raise Refused(
            what,
            f"has {said}",
            expected="text alone",
            given=said,
            remedy=f"{option}='drop' leaves it out, and says how many there were",
        )
    tally.add("cut", what, place, f"{said} was left out")


def _part(part: Any) -> tuple[str, str]:
    """The kind of a part, and its text or name."""
    if isinstance(part, str):
        return "text", part
    if not isinstance(part, Mapping):
        raise _no_text(part)
    kind = part.get("type") or part.get("content_type")
    if kind is None:
        kind = next((name for name in ("text", *_MEDIA) if part.get(name) is not None), None)
    if kind in _TEXTS:
        said = part.get("text") if part.get("text") is not None else part.get("refusal")
        if isinstance(said, Mapping):  # OpenAI's threads: {"value": ..., "annotations": ...}
            said = said.get("value")
        if not isinstance(said, str):
            raise _no_text(said)
        return "text", said
    if kind in _THOUGHTS:
        said = next((part[name] for name in _THOUGHTS if isinstance(part.get(name), str)), "")
        return "thought", said
    if kind in _TOOLS:
        return "tool", f"a part of the kind {kind!r}"
    if kind in _MEDIA:
        return "media", f"a part of the kind {kind!r}"
    raise Refused(
        "unknown part",
        "a part of the content is of no known kind",
        expected="text, thoughts, tool calls, images, sound or files",
        given=repr(kind) if kind else f"a part with {', '.join(map(str, part)) or 'nothing in it'}",
        remedy='write it as {"type": "text", "text": ...}, or leave it out',
    )


def _no_text(content: object) -> Refused:
    null = content is None
    return Refused(
        "content that is not text",
        "the content is not text",
        expected="a text or a list of parts",
        given="null" if null else f"{type(content).__name__} {str(content)[:40]!r}",
        remedy='write "" for a message that is empty, or take the message out'
        if null
        else "write it in quotes",
    )
