"""`Where`: which tokens an operation touches, said once and understood at reading and at every decoding step.

Pads are never touched. BOS and measured attention sinks are not touched either, unless `sinks=True`: a ceiling or
an ablation that reaches the sink changes attention everywhere.

| name | tokens |
| --- | --- |
| `all` | every token |
| `prompt` | those given |
| `generated` | those sampled: the reply |
| `last` | the last token of the prompt and every sampled one |
| `system`, `user`, `assistant`, `thinking`, `template`, `special` | by role; sampled ones are the assistant's |

In a finished transcript the last assistant turn, and what follows it, is what was sampled; where the user speaks
last, nothing was. While a reply is being sampled, a hook cannot tell thinking from answer: all of it is the
assistant's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from persona_lens.errors import InterventionError
from persona_lens.transcripts import Group

PLACES = ("all", "prompt", "generated", "last")
GROUPS = tuple(group.value for group in Group)
WITH_TURNS = ("user", "assistant", "thinking")


@dataclass(frozen=True, eq=False)
class Where:
    """A choice of tokens.

    Attributes:
        names: Which; a token is chosen if any name says so.
        turn: Only this turn of user, assistant or thinking tokens; negative counts from the last, and the reply
            being sampled is the last assistant turn.
        masks: Instead of names, one mask a row over the tokens of its prompt; sampled tokens are not chosen.
        sinks: Touch BOS and attention sinks too.

    Raises:
        InterventionError: An unknown name, or a turn where there are none.

    Examples:
        >>> print(Where(("assistant",), turn=-1))
        assistant, turn -1
    """

    names: tuple[str, ...] = ("all",)
    turn: int | None = None
    masks: tuple[np.ndarray, ...] | None = None
    sinks: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in (*PLACES, *GROUPS)]
        if unknown or (not self.names and self.masks is None):
            raise InterventionError(
                "no such choice of tokens",
                expected=", ".join((*PLACES, *GROUPS)),
                given=", ".join(map(repr, unknown)) or "nothing",
            )
        turnless = [name for name in self.names if name not in WITH_TURNS]
        if self.turn is not None and turnless:
            raise InterventionError(
                "only some tokens have turns",
                expected=", ".join(WITH_TURNS),
                given=", ".join(turnless),
                remedy="leave the turn out",
            )

    @classmethod
    def of(cls, *choice: Any, turn: int | None = None, sinks: bool = False) -> Where:
        """From what a user writes: names or a list of them, or one mask or list of masks.

        Examples:
            >>> Where.of("user", "system").names
            ('user', 'system')
            >>> print(Where.of(np.array([[False, True]])))
            1 mask
        """
        given = choice[0] if len(choice) == 1 else None
        if isinstance(given, list | tuple) and given and _are_names(given):
            return cls(tuple(given), turn=turn, sinks=sinks)
        if _are_names(choice):
            return cls(choice or ("all",), turn=turn, sinks=sinks)
        if given is None or turn is not None:
            raise InterventionError(
                "tokens are chosen by names or by masks, not by both",
                expected="names, or one list of masks",
                given=f"{len(choice)} arguments" + ("" if turn is None else " and a turn"),
            )
        masks = tuple(_as_mask(mask) for mask in _rows(given))
        return cls((), masks=masks, sinks=sinks)

    def __str__(self) -> str:
        if self.masks is not None:
            text = f"{len(self.masks)} mask" + ("s" if len(self.masks) > 1 else "")
        else:
            text = " or ".join(self.names) + ("" if self.turn is None else f", turn {self.turn}")
        return text + (", sinks too" if self.sinks else "")


def _are_names(choice: Sequence[Any]) -> bool:
    return all(isinstance(name, str) for name in choice)


def _rows(masks: Any) -> Sequence[Any]:
    if getattr(masks, "ndim", None) == 1:
        return [masks]
    if isinstance(masks, Sequence) and masks and np.ndim(masks[0]) == 0:
        return [masks]
    return list(masks)


def _as_mask(mask: Any) -> np.ndarray:
    array = np.asarray(mask.cpu() if hasattr(mask, "cpu") else mask)
    if array.ndim != 1 or array.dtype != bool:
        raise InterventionError(
            "a mask has one boolean a token",
            expected="Bool[position], or a list of them",
            given=f"{array.dtype}{list(array.shape)}",
        )
    return array
