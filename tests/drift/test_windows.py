"""Windows over turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona_lens.drift.windows import MARGIN, windows
from persona_lens.errors import ConversationError


@given(
    lengths=st.lists(st.integers(5, 60), min_size=1, max_size=30),
    head=st.integers(0, 20),
    context=st.integers(110, 400),
)
def test_every_turn_is_read_once_and_each_window_fits(lengths, head, context):
    ends, at = [], head
    for length in lengths:
        at += length
        ends.append(at)
    begins = [head, *ends[:-1]]
    found = windows(head, ends, context=context)
    assert [turn for window in found for turn in range(window.new, window.last + 1)] == list(
        range(len(ends))
    )
    for window in found:
        assert window.first <= window.new
        assert head + ends[window.last] - begins[window.first] + MARGIN <= context


@given(lengths=st.lists(st.integers(5, 20), min_size=30, max_size=40))
def test_a_later_window_begins_with_about_half_a_context_of_past(lengths):
    ends = [sum(lengths[: turn + 1]) for turn in range(len(lengths))]
    begins = [0, *ends[:-1]]
    for window in windows(0, ends, context=200)[1:]:
        past = begins[window.new] - begins[window.first]
        assert past <= 100
        assert past > 100 - 20  # one turn more would be too much


def test_a_turn_that_is_too_long_is_refused():
    with pytest.raises(ConversationError, match="turn 1 does not fit"):
        windows(0, [20, 200], context=100)
