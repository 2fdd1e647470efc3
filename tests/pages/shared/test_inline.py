"""What stands inside a page."""

from __future__ import annotations

import json

from persona_lens.pages.shared.inline import script_json


def test_json_cannot_close_its_script() -> None:
    content = {"a": "</script><!--", "b": "&amp;\u2028"}
    text = str(script_json(content))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == content
