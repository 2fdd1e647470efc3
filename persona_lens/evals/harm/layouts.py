"""The layouts in which sets of behaviours are published, told by the titles of their columns.

| layout | columns that tell it | source |
| --- | --- | --- |
| harmbench | Behavior, SemanticCategory, BehaviorID | arXiv 2402.04249, `harmbench_behaviors_text_*.csv` |
| strongreject | category, source, forbidden_prompt | arXiv 2402.10260, `strongreject_dataset.csv` |
| jailbreakbench | Index, Goal, Behavior, Category | arXiv 2404.01318, JBB-Behaviors, harmful and benign |
| persona-modulation | prompt, question (or behavior_question), harm_category | arXiv 2311.03348 |
| named | as the caller names them, or common titles | any table |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from persona_lens.errors import EvaluationError
from persona_lens.spelling import check_choice, did_you_mean

FIELDS = (
    *("text", "id", "category", "context", "system", "persona", "source", "kind", "tags"),
    *("benign", "pair"),
)
"""What a column may be, as in `Behaviour`."""


@dataclass(frozen=True)
class Layout:
    """How a table names its columns.

    Attributes:
        name: Its key.
        columns: Titles that each field may have, in lower case with underscores.
        needs: Fields that no row may lack.
        tells: Fields whose columns tell this layout.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    needs: tuple[str, ...]
    tells: tuple[str, ...]

    def found(self, titles: Iterable[str]) -> dict[str, str]:
        """The title of each field that has a column."""
        plain = {as_key(title): title for title in titles if title}
        return {
            field: next(plain[name] for name in names if name in plain)
            for field, names in self.columns.items()
            if any(name in plain for name in names)
        }


_QUESTION = ("question", "behavior_question", "behaviour_question", "behavioral_question")
LAYOUTS = (
    Layout(
        "harmbench",
        {
            "text": ("behavior",),
            "id": ("behaviorid",),
            "category": ("semanticcategory",),
            "kind": ("functionalcategory",),
            "context": ("contextstring",),
            "tags": ("tags",),
        },
        needs=("text", "id", "category"),
        tells=("text", "id", "category"),
    ),
    Layout(
        "jailbreakbench",
        {
            "text": ("goal",),
            "id": ("index",),
            "category": ("category",),
            "source": ("source",),
            "tags": ("behavior",),
        },
        needs=("text", "id", "category"),
        tells=("text", "id", "tags"),
    ),
    Layout(
        "strongreject",
        {"text": ("forbidden_prompt",), "category": ("category",), "source": ("source",)},
        needs=("text", "category"),
        tells=("text",),
    ),
    Layout(
        "persona-modulation",
        {
            "text": _QUESTION,
            "system": ("system_prompt", "system", "prompt"),
            "category": ("harm_category",),
            "persona": ("persona",),
            "id": ("id",),
        },
        needs=("text", "system", "category"),
        tells=("text", "system", "category"),
    ),
)
NAMED = Layout(
    "named",
    {
        "text": (
            *("text", "request", "behavior", "behaviour", "goal", "prompt", "instruction", "query"),
            "question",
        ),
        "id": ("id", "behavior_id", "behaviour_id", "index"),
        "category": ("category", "harm_category", "semantic_category", "risk"),
        "context": ("context",),
        "system": ("system", "system_prompt"),
        "persona": ("persona", "role"),
        "source": ("source",),
        "benign": ("benign",),
        "pair": ("pair", "twin"),
    },
    needs=("text",),
    tells=("text",),
)
NAMES = (*(layout.name for layout in LAYOUTS), NAMED.name)


def as_key(title: object) -> str:
    """A title as layouts have it.

    Examples:
        >>> as_key(" Harm Category"), as_key("BehaviorID")
        ('harm_category', 'behaviorid')
    """
    return str(title).strip().lower().replace(" ", "_").replace("-", "_")


def layout_of(
    titles: Iterable[str],
    name: str | None,
    columns: Mapping[str, str] | None,
    where: str,
) -> tuple[Layout, dict[str, str]]:
    """The layout of a table, and the title of each of its fields.

    Args:
        titles: Of its columns.
        name: Of the layout, if it is known.
        columns: Title of each field, from the caller; the layout is "named" then.
        where: For complaints.

    Raises:
        EvaluationError: No layout fits, a column is missing, or several may be the text.

    Examples:
        >>> layout, found = layout_of(["category", "source", "forbidden_prompt"], None, None, "s.csv")
        >>> layout.name, found["text"]
        ('strongreject', 'forbidden_prompt')
    """
    titles = [str(title) for title in titles]
    if any(as_key(title).startswith("imagefile") for title in titles):
        raise EvaluationError(
            f"{where} is about images",
            expected="behaviours in words",
            given=", ".join(titles),
            remedy="take the table of text behaviours",
        )
    if columns is not None:
        return _as_named(titles, columns, where)
    if name is not None:
        check_choice(name, NAMES, "unknown layout of behaviours", error=EvaluationError)
        layout = next((each for each in LAYOUTS if each.name == name), NAMED)
    else:
        layout = next((each for each in LAYOUTS if {*each.tells} <= {*each.found(titles)}), NAMED)
    found = layout.found(titles)
    lacking = [field for field in layout.needs if field not in found]
    if lacking:
        wanted = [" or ".join(layout.columns[field]) for field in lacking]
        raise EvaluationError(
            f"{where}: has no column for {' and '.join(lacking)}",
            expected=f"{', '.join(wanted)} (layout {layout.name})",
            given=", ".join(titles),
            remedy='name them: columns={"text": "Title of the column", "category": ...}',
        )
    if layout is NAMED:
        texts = [title for title in titles if as_key(title) in NAMED.columns["text"]]
        if len(texts) > 1:
            raise EvaluationError(
                f"{where}: which column is the request?",
                expected="one of " + ", ".join(texts),
                given="no choice",
                remedy=f'say it: columns={{"text": {texts[0]!r}, ...}}',
            )
    return layout, found


def _as_named(
    titles: list[str], columns: Mapping[str, str], where: str
) -> tuple[Layout, dict[str, str]]:
    for field in columns:
        check_choice(field, FIELDS, "a column cannot be that", error=EvaluationError)
    if "text" not in columns:
        raise EvaluationError(
            "which column holds the request is not said",
            expected='columns={"text": ...}',
            given=", ".join(columns) or "none",
        )
    for field, title in columns.items():
        if title not in titles:
            raise EvaluationError(
                f"{where}: has no column {title!r}, which is to be the {field}",
                expected=", ".join(titles),
                given=title,
                remedy=did_you_mean(title, titles),
            )
    needs = tuple(field for field in ("text", "category", "id") if field in columns)
    return Layout("named", {}, needs, ()), dict(columns)
