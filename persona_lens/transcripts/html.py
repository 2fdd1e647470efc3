"""A transcript in a notebook: every token on the colour of its group, with its id and turn under the mouse.

Colours are laid over whatever the notebook has, so light and dark ones both work.
"""

from __future__ import annotations

from collections import Counter
from html import escape

from persona_lens.transcripts.groups import Group, Transcript
from persona_lens.transcripts.pieces import Piece, pieces, visible

MAX_TOKENS = 2000
"""Tokens shown: the last ones, where the reply is."""

COLOURS = {
    Group.SYSTEM: "147, 51, 234",
    Group.USER: "37, 99, 235",
    Group.ASSISTANT: "22, 163, 74",
    Group.THINKING: "217, 119, 6",
    Group.TEMPLATE: "128, 128, 128",
    Group.SPECIAL: "128, 128, 128",
}
"""Red, green and blue of each group; thin tints of them lie under the text, whose colour is the page's own."""

_STYLE = "".join(
    [
        "<style>.pl-transcript {font-size: 13px; line-height: 1.7; max-width: 72em}",
        ".pl-transcript .pl-text {font-family: ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap;",
        " overflow-wrap: anywhere; margin: .4em 0}",
        ".pl-transcript .pl-text span {unicode-bidi: isolate; box-shadow: inset -1px 0 rgba(128, 128, 128, .3)}",
        ".pl-transcript .pl-key {padding: 0 .5em; margin-right: .6em}",
        ".pl-transcript .pl-special {font-size: .85em; border-bottom: 1px dotted rgba(128, 128, 128, .9)}",
        ".pl-transcript .pl-template {border-bottom: 1px solid rgba(128, 128, 128, .6)}",
        *(
            f".pl-transcript .pl-{group.value} {{background: rgba({rgb}, {0.12 if rgb[:3] == '128' else 0.26})}}"
            for group, rgb in COLOURS.items()
        ),
        "</style>",
    ]
)


def transcript_html(transcript: Transcript) -> str:
    """Tokens on the colours of their groups, below a key that counts them; all text is escaped.

    Examples:
        >>> import numpy as np
        >>> said = Transcript(ids=np.array([60, 98]), groups=np.array([1, 2], dtype=np.int8),
        ...                   turns=np.array([0, 0]), text="<b", user_turns=1, assistant_turns=1,
        ...                   decode=lambda ids: bytes(ids).decode())
        >>> page = transcript_html(said)
        >>> "&lt;" in page, "user 1" in page
        (True, True)
    """
    counts = Counter(transcript.groups.tolist())
    key = "".join(
        f'<span class="pl-key pl-{group.value}">{group.value} {counts[group.code]:,}</span>'
        for group in Group
        if counts[group.code]
    )
    cut = max(0, len(transcript) - MAX_TOKENS)
    before = f"<em>… {cut:,} tokens before these … </em>" if cut else ""
    shown = "".join(
        _piece(transcript, piece, cut)
        for piece in pieces(transcript.ids[cut:].tolist(), transcript.decode)
    )
    state = "waits for a reply" if transcript.generating else "ends here"
    return (
        f'<div class="pl-transcript">{_STYLE}<div>{len(transcript):,} tokens: {key}</div>'
        f'<div class="pl-text">{before}{shown}</div><em>{state}</em></div>'
    )


def _piece(transcript: Transcript, piece: Piece, cut: int) -> str:
    places = range(cut + piece.start, cut + piece.stop)
    own = [int(transcript.ids[place]) for place in places]
    text = "".join(f"⟨{token}⟩" for token in own) if piece.text is None else visible(piece.text)
    # Tokens that only together make a character are of one group, or the text would not have been proved.
    group = Group.of_code(int(transcript.groups[places[0]]))
    turn = int(transcript.turns[places[0]])
    of_turn = f", turn {turn}" if turn >= 0 else ""
    ids = ", ".join(map(str, own))
    title = escape(f"token {ids} at {places[0]}: {group.value}{of_turn}")
    return f'<span class="pl-{group.value}" title="{title}">{escape(text)}</span>'


def counted(transcript: Transcript) -> str:
    """How many tokens of each group, in words.

    Examples:
        >>> import numpy as np
        >>> counted(Transcript(ids=np.array([5, 7, 9]), groups=np.array([5, 1, 1], dtype=np.int8),
        ...                    turns=np.array([-1, 0, 0]), text="<s>hi", user_turns=1, assistant_turns=0))
        '2 user, 1 special'
    """
    counts = Counter(transcript.groups.tolist())
    named = (f"{counts[group.code]:,} {group.value}" for group in Group if counts[group.code])
    return ", ".join(named)
