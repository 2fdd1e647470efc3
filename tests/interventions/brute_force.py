"""A second, slow and separate account of interventions, for tests to compare with.

Every row runs alone, without pads and without a KV cache: at each step the whole sequence is computed afresh in
the plain Hugging Face module, with hooks that apply formulas written down again here, at positions found by a loop
over the tokens. Nothing of `persona_lens.interventions` is used, except that `plan_of` says the same as a `Plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from persona_lens.interventions import (
    Ablate,
    Add,
    Band,
    Ceil,
    Direction,
    Floor,
    Gate,
    Operation,
    Plan,
    Rotate,
    Set,
    Step,
    Where,
)
from persona_lens.transcripts import Group, Transcript

KINDS: dict[str, Any] = {
    "add": lambda d, x, s: Add(d, lengths=x, strength=s),
    "ablate": lambda d, _, s: Ablate(d, strength=s),
    "set": lambda d, x, s: Set(d, targets=x, strength=s),
    "floor": lambda d, x, s: Floor(d, thresholds=x, strength=s),
    "ceil": lambda d, x, s: Ceil(d, thresholds=x, strength=s),
    "band": lambda d, x, s: Band(d, low=x, high=x + 1.0, strength=s),
    "rotate": lambda d, x, s: Rotate(d, radians=x, strength=s),
}


@dataclass(frozen=True)
class Choice:
    """Which tokens, in the words of `Plan.where`."""

    names: tuple[str, ...] = ("all",)
    turn: int | None = None
    sinks: bool = False
    masks: tuple[tuple[bool, ...], ...] | None = None

    def takes(self, prompt: Transcript, row: int, position: int, sinks: Sequence[int]) -> bool:
        """Whether a token is chosen; positions beyond the prompt are sampled."""
        if not self.sinks and position in sinks:
            return False
        if self.masks is not None:
            return position < len(prompt) and self.masks[row][position]
        return any(self._names(name, prompt, position) for name in self.names)

    def _names(self, name: str, prompt: Transcript, position: int) -> bool:
        sampled = position >= len(prompt)
        if name in ("all", "prompt", "generated"):
            return name == "all" or sampled == (name == "generated")
        if name == "last":
            return position >= len(prompt) - 1
        if sampled:  # the reply is one assistant turn more, counted from 0
            return name == "assistant" and self.turn in (None, -1, prompt.assistant_turns)
        if name != Group.of_code(prompt.groups[position]).value:
            return False
        count = prompt.user_turns if name == "user" else prompt.assistant_turns + 1
        return self.turn is None or prompt.turns[position] in (self.turn, count + self.turn)

    def where(self) -> Where:
        """The same in the package's words."""
        if self.masks is not None:
            return Where.of([np.array(mask) for mask in self.masks], sinks=self.sinks)
        return Where.of(*self.names, turn=self.turn, sinks=self.sinks)


@dataclass(frozen=True, eq=False)
class Spec:
    """One operation at some layers; equal to itself only, so that accounts can be kept by it.

    Attributes:
        kind: Its name.
        vectors: The direction at each layer.
        amount: Length, threshold, target, low end or angle, the same at every layer.
        strength: One, or one a row.
        choice: Which tokens.
        gate: Direction, threshold, side and `token` or `sequence`, if the operation stands behind a gate.
    """

    kind: str
    vectors: dict[int, np.ndarray]
    amount: float = 0.0
    strength: float | tuple[float, ...] = 1.0
    choice: Choice = field(default_factory=Choice)
    gate: tuple[dict[int, np.ndarray], float, str, str] | None = None

    def on(self, *names: str, **more: Any) -> Spec:
        """The same on other tokens."""
        return replace(self, choice=Choice(names or ("all",), **more))

    def operation(self) -> Operation:
        """The same in the package's words."""
        direction = _direction("d", self.vectors)
        operation = KINDS[self.kind](direction, self.amount, self.strength)
        if self.gate is None:
            return operation
        vectors, threshold, side, per = self.gate
        return Gate(_direction("g", vectors), threshold, operation, side=side, per=per)  # pyright: ignore[reportArgumentType]

    def apply(
        self, layer: int, h: Tensor, prompt: Transcript, row: int, sinks: Sequence[int]
    ) -> tuple[Tensor, list[int], list[int]]:
        """The residuals `[position, d_model]` of a whole row, changed; and the `positions`."""
        chosen, positions = self.positions(layer, h, prompt, row, sinks)
        strength = self.strength[row] if isinstance(self.strength, tuple) else self.strength
        changed = h.clone()
        changed[positions] = formula(
            self.kind, h[positions], unit(self.vectors[layer]), self.amount, strength
        )
        return changed, chosen, positions

    def positions(
        self, layer: int, h: Tensor, prompt: Transcript, row: int, sinks: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Which tokens of a whole row are chosen, and which of them a gate lets through."""
        chosen = [
            position
            for position in range(len(h))
            if self.choice.takes(prompt, row, position, sinks)
        ]
        positions = chosen
        if self.gate is not None:
            vectors, threshold, side, per = self.gate
            values = (h @ unit(vectors[layer])).tolist()
            passes = [
                values[position] > threshold if side == "above" else values[position] < threshold
                for position in positions
            ]
            if per == "sequence" and any(passes):
                passes = [place >= passes.index(True) for place in range(len(positions))]
            positions = [
                position for position, open_ in zip(positions, passes, strict=True) if open_
            ]
        return chosen, positions


def plan_of(specs: Sequence[Spec]) -> Plan:
    """The plan that does all of them in order."""
    return Plan(tuple(Step(spec.operation(), spec.choice.where()) for spec in specs))


def _direction(name: str, vectors: dict[int, np.ndarray]) -> Direction:
    return Direction(name, tuple(vectors), np.stack(list(vectors.values())))


def unit(vector: np.ndarray) -> Tensor:
    """At length one."""
    return torch.tensor(vector / np.linalg.norm(vector), dtype=torch.float32)


def formula(kind: str, h: Tensor, v: Tensor, amount: float, s: float) -> Tensor:
    """What each operation is said to do to residuals `[token, d_model]`."""
    p = (h @ v)[:, None]
    if kind == "rotate":
        norm = h.norm(dim=-1, keepdim=True)
        turned = (torch.acos((p / norm).clamp(-1, 1)) - s * amount).clamp(0.0, np.pi)
        w = nn.functional.normalize(h - p * v, dim=-1)
        return norm * (turned.cos() * v + turned.sin() * w)
    goal = {
        "add": p + amount,
        "ablate": torch.zeros_like(p),
        "set": torch.full_like(p, amount),
        "floor": torch.where(p < amount, amount, p),
        "ceil": torch.where(p > amount, amount, p),
        "band": torch.where(p < amount, amount, torch.where(p > amount + 1.0, amount + 1.0, p)),
    }[kind]
    return h + s * (goal - p) * v


def blocks_of(module: Any) -> nn.ModuleList:
    """The decoder blocks."""
    return next(part for part in module.get_decoder().modules() if isinstance(part, nn.ModuleList))


@dataclass
class Alone:
    """What one row gives, run alone.

    Attributes:
        ids: The reply; its end token is not part of it.
        residuals: At each step, those of the whole sequence after the layer read, `[position, d_model]`.
        states: At each step, the vector the output embedding gets.
        gates: At the last step, tokens chosen and tokens let through by each gate at each layer.
        projections: At the last step, for each operation and layer: of the tokens chosen, the projections before
            and after, and the length of the change over the norm.
    """

    ids: list[int] = field(default_factory=list)
    residuals: list[Tensor] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    gates: list[tuple[list[int], list[int]]] = field(default_factory=list)
    projections: dict[tuple[int, int], Tensor] = field(default_factory=dict)


@torch.no_grad()
def run_alone(
    module: Any,
    prompt: Transcript,
    specs: Sequence[Spec],
    *,
    row: int = 0,
    steps: int,
    end_ids: Sequence[int] = (),
    read: int = 1,
    sinks: Sequence[int] = (0,),
) -> Alone:
    """Greedy tokens and residuals of one row, every step computed from nothing."""
    found, ids = Alone(), prompt.ids.tolist()
    with ExitStack() as stack:

        def changing(layer: int) -> Any:
            def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
                h = (output[0] if isinstance(output, tuple) else output)[0]
                for number, spec in enumerate(specs):
                    if layer in spec.vectors:
                        before = h
                        h, chosen, let = spec.apply(layer, before, prompt, row, sinks)
                        found.gates += [(chosen, let)] if spec.gate else []
                        v, length = unit(spec.vectors[layer]), (h - before).norm(dim=-1)
                        table = torch.stack([before @ v, h @ v, length / before.norm(dim=-1)])
                        found.projections[number, layer] = table[:, chosen]
                if layer == read:
                    found.residuals.append(h)
                h = h[None]
                return (h, *output[1:]) if isinstance(output, tuple) else h

            return hook

        for layer, block in enumerate(blocks_of(module)):
            stack.callback(block.register_forward_hook(changing(layer)).remove)
        head = module.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, args: found.states.append(args[0][0, -1]))
        stack.callback(hook.remove)
        for _ in range(steps):
            found.gates.clear()
            logits = module(torch.tensor([ids]), use_cache=False).logits[0, -1]
            token = int(logits.argmax())
            if token in end_ids:
                break
            ids.append(token)
            found.ids.append(token)
    return found


@contextmanager
def recording(module: Any, read: int = 1) -> Any:
    """What a model's passes give after block `read`, and before its output embedding."""
    residuals: list[Tensor] = []
    states: list[Tensor] = []
    hooks = [
        blocks_of(module)[read + 1].register_forward_pre_hook(
            lambda _, args, kwargs: residuals.append(
                (args[0] if args else kwargs["hidden_states"]).clone()
            ),
            with_kwargs=True,
        ),
        module.get_output_embeddings().register_forward_pre_hook(
            lambda _, args: states.append(args[0][:, -1].clone())
        ),
    ]
    try:
        yield residuals, states
    finally:
        for hook in hooks:
            hook.remove()


def assert_same(
    alone: Alone,
    row: int,
    prompt: Transcript,
    residuals: Sequence[Tensor],
    states: Sequence[Tensor] = (),
) -> None:
    """Compare one row of the cached passes of a left-padded batch with the row alone."""
    close = {"rtol": 1e-4, "atol": 1e-4}
    for step, whole in enumerate(alone.residuals):
        # The prompt whole, then the token fed at each step.
        ours = residuals[step][row][-len(prompt) :]
        torch.testing.assert_close(ours, whole[-len(ours) :], **close)
        if states:
            torch.testing.assert_close(states[step][row], alone.states[step], **close)
