"""A hub that does not answer is asked once, not once for every file."""

from __future__ import annotations

import ssl
import urllib.error
from collections.abc import Callable

import pytest
from huggingface_hub import constants

from persona_lens import PersonaModel
from persona_lens.errors import ModelError
from persona_lens.model import hub


class Opened:
    def close(self) -> None: ...


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | None], list[str]]:
    """Have the hub answer so, and tell how often it was asked."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "_last_asked", None)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    addresses: list[str] = []

    def answer(error: Exception | None) -> list[str]:
        def urlopen(request: object, timeout: float) -> Opened:
            assert timeout == hub.SECONDS_TO_ANSWER
            addresses.append(request.full_url)  # pyright: ignore[reportAttributeAccessIssue]
            if error is not None:
                raise error
            return Opened()

        monkeypatch.setattr("urllib.request.urlopen", urlopen)
        return addresses

    return answer


@pytest.mark.parametrize(
    ("error", "offline"),
    [
        (None, False),
        (urllib.error.HTTPError("", 503, "busy", None, None), False),  # pyright: ignore
        (urllib.error.URLError(ssl.SSLCertVerificationError("unknown issuer")), False),
        (urllib.error.URLError(OSError("name not known")), True),
        (TimeoutError("no answer"), True),
        (ConnectionResetError("reset"), True),
    ],
)
def test_only_a_hub_that_does_not_answer_is_left_out(asked, error, offline: bool) -> None:
    asked(error)
    with hub.hub_within_reach():
        assert constants.HF_HUB_OFFLINE is offline
    assert constants.HF_HUB_OFFLINE is False


def test_who_is_offline_already_stays_so_and_asks_nobody(
    asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = asked(None)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub.hub_within_reach():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is True
    assert addresses == []


def test_a_name_on_a_hub_that_does_not_answer_is_refused_after_one_question(asked) -> None:
    addresses = asked(urllib.error.URLError(OSError("name not known")))
    with pytest.raises(ModelError, match="cannot load 'nobody/nothing'"):
        PersonaModel.load("nobody/nothing", device="cpu")
    assert addresses == ["http://127.0.0.1:9"]


def test_embedded_models_and_folders_ask_no_hub(asked, tiny_llama) -> None:
    addresses = asked(None)
    PersonaModel.load(tiny_llama, device="cpu", dtype="float32")
    assert addresses == []
