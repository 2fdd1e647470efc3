"""The script of a page: modules that import one another, joined into one text when the page is written.

A page opened from a file cannot load modules, so imports are resolved here. The joined modules share one scope: no
two of them may have a name of the same spelling at their outermost level (a test holds it).
"""

from __future__ import annotations

import posixpath
import re
from importlib.resources import files

IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "([^"]+)";\n', flags=re.M)


def joined(entry: str) -> str:
    """One text out of a module and all it imports, each once and after those it imports itself.

    Args:
        entry: Path of the module below `persona_lens/pages`, with slashes.

    Examples:
        >>> script = joined("atlas/script/matching.js")
        >>> script.count("const plain ="), "import " in script, "export " in script
        (1, False, False)
    """
    texts: dict[str, str] = {}
    _join(entry, texts)
    return "\n".join(texts.values())


def _join(name: str, texts: dict[str, str]) -> None:
    text = files("persona_lens.pages").joinpath(name).read_text("utf-8")
    for _, source in IMPORT.findall(text):
        imported = posixpath.normpath(posixpath.join(posixpath.dirname(name), source))
        if imported not in texts:
            _join(imported, texts)
    texts[name] = re.sub(r"^export (?=\w)", "", IMPORT.sub("", text), flags=re.M)
