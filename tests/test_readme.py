"""The Python of README and docs runs as it stands, next to a space like the one the demo leaves."""

from __future__ import annotations

import re
from pathlib import Path

import plotly.graph_objects as go
import pytest
from brief import keep_replies_brief

from persona_lens import PersonaModel, PersonaSpace

ROOT = Path(__file__).parent.parent
PAGES = [
    "README.md",
    "docs/index.md",
    "docs/collecting.md",
    "docs/layers.md",
    "docs/steering.md",
    "docs/serve.md",
    "docs/chat.md",
    "docs/drift.md",
    "docs/behaviour.md",
    "docs/gotchas.md",
    "docs/howto.md",
    "docs/vllm.md",
]
PLAIN = [
    f"docs/{name}.md"
    for name in (
        *("about", "conventions", "faq", "gallery", "interop", "large", "models", "neighbours"),
        "paper",
        "troubleshooting",
    )
]


def blocks(page: str) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.fixture(scope="module")
def demo_space(
    smol: PersonaModel, small_space: PersonaSpace, tmp_path_factory: pytest.TempPathFactory
) -> PersonaSpace:
    """A calibrated copy; others want `small_space` as it is."""
    space = PersonaSpace.load(small_space.save(tmp_path_factory.mktemp("spaces") / "plain"))
    return space.calibrate(smol, replies=8, progress=False)


@pytest.mark.embedded
@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(
    page: str, demo_space: PersonaSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = blocks(page)
    assert found
    demo_space.save(tmp_path / "demo" / "space")
    monkeypatch.chdir(tmp_path)
    if not any("assert " in block for block in found):  # what is asserted holds of whole replies
        keep_replies_brief(monkeypatch)
    shown: list[go.Figure] = []

    def show(figure: go.Figure) -> None:
        shown.append(figure)

    monkeypatch.setattr(go.Figure, "show", show)
    names: dict[str, object] = {}
    for block in found:
        exec(compile(block, page, "exec"), names)
    assert bool(shown) == any(".show()" in block for block in found)


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in [*PAGES, *PLAIN, "CONTRIBUTING.md"]:
        file = ROOT / page
        for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", file.read_text("utf-8")):
            assert (file.parent / target).exists(), f"{page}: {target}"
