"""What a chat template does with system messages, found by asking it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.rendering import Render

# Private-use characters and digits: no template has them of its own, none changes their case.
_SYSTEM, _USER, _REPLY, _LATER = "\ue0000\ue000", "\ue0001\ue000", "\ue0002\ue000", "\ue0003\ue000"
_CUT = "\0"


@dataclass(frozen=True)
class TemplateHabits:
    """How a chat template treats system messages.

    Args:
        supports_system: A system message is accepted and rendered.
        injects_system: Without a system message the template writes a text of its own.
        empty_message: An empty system message leaves less text before the user's than none does.
        injected_text: What the template still writes under the better of these two, markers and
            white space around it removed; empty for most templates.
    """

    supports_system: bool
    injects_system: bool
    empty_message: bool
    injected_text: str


def probe(render: Render, special: Iterable[str]) -> TemplateHabits:
    """Render short conversations and compare what comes before the user's words.

    Args:
        render: Messages to text; raises ``TranscriptError`` where the template refuses.
        special: The texts of the tokenizer's special tokens.

    Raises:
        TranscriptError: The template renders no user message at all.

    Examples:
        >>> def chatml_with_default(messages):
        ...     if messages[0]["role"] != "system":
        ...         messages = [{"role": "system", "content": "You help."}, *messages]
        ...     return "".join(f"<a>{m['role']}\\n{m['content']}<z>\\n" for m in messages)
        >>> probe(chatml_with_default, ["<a>", "<z>"])
        TemplateHabits(supports_system=True, injects_system=True, empty_message=True, injected_text='')
    """
    special = sorted(special, key=len, reverse=True)
    user = {"role": "user", "content": _USER}

    def ask(*messages: dict[str, str]) -> str:
        try:
            return render([dict(message) for message in messages])
        except TranscriptError:
            return ""

    def cut(text: str) -> str:
        for token in special:
            text = text.replace(token, _CUT)
        return text

    given = ask({"role": "system", "content": _SYSTEM}, user)
    supports = _SYSTEM in given and _USER in given
    texts = {False: ask(user)}
    if supports:
        texts[True] = ask({"role": "system", "content": ""}, user)
    heads = {empty: text.partition(_USER)[0] for empty, text in texts.items() if _USER in text}
    if not heads:
        render([user])  # lets the template's own complaint through
        raise TranscriptError(
            "the chat template renders no user message",
            expected="a template that prints messages with role 'user'",
            remedy="pass another chat_template",
        )
    # A later user message has the same header, but nothing injected before it.
    talk = ask(user, {"role": "assistant", "content": _REPLY}, user | {"content": _LATER})
    later = cut(talk.partition(_REPLY)[2].partition(_LATER)[0]) if _LATER in talk else None

    def injected(head: str) -> str:
        head = cut(head)
        pairs = zip(reversed(head), reversed(later or ""), strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        words = head[: len(head) - shared].strip(_CUT + " \n")
        words = words.removeprefix("system").replace(_CUT, "").strip()
        return words if any(map(str.isalnum, words)) else ""

    empty_message = min(heads, key=lambda empty: (len(heads[empty]), empty))
    none = heads.get(False)
    if later is None and none is not None:
        # A single-turn template shows no later header: only the two heads can be compared.
        text = ""
        injects = len(none) > len(heads[empty_message])
    else:
        text = injected(heads[empty_message])
        injects = none is not None and bool(injected(none))
    return TemplateHabits(supports, injects, empty_message, text)
