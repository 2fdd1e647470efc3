"""What somebody may have meant: names near to one that is not known, for the last line of an error.

Case, accents, blanks, hyphens and underscores do not count: "Devil's Advocate" is near to `devil_s_advocate`.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable

from persona_lens.errors import PersonaLensError

_SHOWN = 3
_CUTOFF = 0.6


def near(given: object, known: Iterable[object], *, cutoff: float = _CUTOFF) -> list[str]:
    """At most three of the known names, the likeliest first; none if `given` is no text.

    Examples:
        >>> near("Devil's Advocate", ["pirate", "devil_s_advocate"]), near("role", ["all", "roles"])
        (['devil_s_advocate'], ['roles'])
    """
    if not isinstance(given, str):
        return []
    spoken: dict[str, list[str]] = {}
    for name in map(str, known):
        spoken.setdefault(_spoken(name), []).append(name)
    close = difflib.get_close_matches(_spoken(given), spoken, _SHOWN, cutoff)
    return [name for form in close for name in spoken[form]][:_SHOWN]


def did_you_mean(
    given: object,
    known: Iterable[object],
    otherwise: str | None = None,
    *,
    cutoff: float = _CUTOFF,
) -> str | None:
    """The question an error ends with, or `otherwise` where nothing is near.

    Examples:
        >>> did_you_mean("rankings", ["map", "ranking"]), did_you_mean(7, ["map"])
        ('did you mean ranking?', None)
    """
    found = near(given, known, cutoff=cutoff)
    return f"did you mean {' or '.join(found)}?" if found else otherwise


def check_choice(
    given: object, known: Collection[str], problem: str, *, error: type[PersonaLensError]
) -> None:
    """Refuse what is not among a few words.

    Raises:
        PersonaLensError: It is not; as `error`.

    Examples:
        >>> check_choice("row", ("raw", "roles", "default"), "unknown units", error=PersonaLensError)
        Traceback (most recent call last):
            ...
        persona_lens.errors.PersonaLensError: unknown units
          expected raw, roles or default, given row
          did you mean raw?
    """
    if given not in known:
        *others, last = known
        expected = f"{', '.join(others)} or {last}"
        raise error(problem, expected=expected, given=given, remedy=did_you_mean(given, known))


def _spoken(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode() or name
    return re.sub(r"[^a-z0-9]+", " ", plain.lower()).strip() or name.lower()
