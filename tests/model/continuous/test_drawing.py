"""Draws fall where the probabilities are, in each row by its own settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from persona_lens.model.continuous.drawing import Draws, Setting
from persona_lens.model.sampling import NucleusFilter

CPU = torch.device("cpu")
CHANCES = (np.arange(400) + 0.5) / 400


def shares(logits: torch.Tensor, setting: Setting) -> np.ndarray:
    """How often each token is drawn by evenly spread chances."""
    draws = Draws([setting] * len(CHANCES), CPU)
    picked = draws(logits.expand(len(CHANCES), -1), CHANCES.tolist())
    return np.bincount([one.id for one in picked], minlength=logits.shape[-1]) / len(CHANCES)


@pytest.mark.parametrize("spread", [3.0, 0.1])  # nuclei within the likeliest 256, and beyond
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.2])
def test_shares_are_the_probabilities_of_the_nucleus(spread, top_p):
    torch.manual_seed(0)
    logits = spread * torch.randn(1, 1000)
    nucleus = NucleusFilter(0.7, top_p)(torch.zeros(1, 1).long(), logits)
    expected = nucleus.softmax(dim=1)[0].numpy()
    found = shares(logits, Setting(0.7, top_p))
    assert not found[expected == 0].any()
    assert np.abs(found - expected).max() <= 1.01 / len(CHANCES)


def test_each_row_by_its_own_settings_and_by_itself():
    torch.manual_seed(1)
    logits = 2 * torch.randn(4, 600)
    settings = [Setting(0.0), Setting(1.0), Setting(2.0, 0.9), Setting(0.5, 0.8, top_log_probs=2)]
    chances = [0.3, 0.9, 0.5, 0.7]
    together = Draws(settings, CPU)(logits, chances)
    for row, (setting, chance) in enumerate(zip(settings, chances, strict=True)):
        [single] = Draws([setting], CPU)(logits[row : row + 1], [chance])
        assert single == together[row]
    assert together[0].id == int(logits[0].argmax())
    own = logits[3].log_softmax(dim=0)
    assert together[3].log_prob == pytest.approx(float(own[together[3].id]))
    assert [token for token, _ in together[3].top] == own.topk(2).indices.tolist()
    assert (together[1].log_prob, together[1].top) == (None, ())


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_only_rows_that_are_numbers_are_sound(broken):
    logits = torch.zeros(2, 300)
    logits[1, 5] = broken
    logits[0, :50] = -torch.inf  # some models rule tokens out
    for setting in (Setting(0.0), Setting(1.0), Setting(1.0, 0.9)):
        picked = Draws([setting] * 2, CPU)(logits, [0.5, 0.5])
        assert [one.sound for one in picked] == [True, False]
        assert picked[0].id >= 50
