"""What a fitted space says, with nulls and intervals."""

from persona_lens.analysis.ordering import GroupOrder, group_order

__all__ = ["GroupOrder", "group_order"]
