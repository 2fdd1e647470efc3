"""What all checks share: a few conversations, random directions, thresholds that engage, tolerances by dtype."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float

from persona_lens.errors import ModelError
from persona_lens.interventions import Add, Direction, Floor, Plan, Receipt
from persona_lens.transcripts import Transcript
from persona_lens.transcripts.continuing import answered
from persona_lens.verify.reading import Reading, largest_difference, not_finite, read

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

SYSTEM = "You keep the lighthouse at the end of the pier, by the old café."
TURNS = (
    ("Is the lamp lit tonight?", "Yes, and it will burn until dawn."),
    ("Who sees it?", "Fishermen, mostly."),
    ("What do you write in the log when there is fog for days?", "The hour of each bell."),
)
"""Questions and answers: short, of several lengths, without white space at either end."""


@dataclass(frozen=True)
class Tolerances:
    """How far two ways of computing the same thing may lie apart.

    Attributes:
        residual: Root mean square difference of residuals, as a fraction of the residuals.
        log_prob: Root mean square difference of log-probabilities, in nats.
        rounding: Error of one residual written by an intervention, as a fraction of its norm: half a unit in the
            last place, and what float32 arithmetic adds.
    """

    residual: float
    log_prob: float
    rounding: float


def tolerances(dtype: torch.dtype) -> Tolerances:
    """By dtype.

    The first two are at least twice the largest measured on the embedded models and on tiny random ones of ten
    architectures; in float32, fifty times. Half precision differs most where a mixture of experts routes a token
    elsewhere.

    Examples:
        >>> tolerances(torch.bfloat16).rounding > 2**-8
        True
    """
    residual, log_prob = {
        torch.float64: (1e-4, 1e-3),
        torch.float32: (1e-4, 1e-3),
        torch.float16: (0.05, 0.05),
    }.get(dtype, (0.1, 0.25))
    return Tolerances(residual, log_prob, torch.finfo(dtype).eps / 2 + 2**-18)


class Subject:
    """A model under check.

    Args:
        model: The model; it is left as it is.

    Attributes:
        tolerances: For its dtype.
        layers: Up to three blocks where plans act: a quarter, a half and three quarters up.
    """

    def __init__(self, model: PersonaModel) -> None:
        self.model = model
        self.tolerances = tolerances(model.dtype)
        self.layers = tuple(sorted({model.n_layers * quarter // 4 for quarter in (1, 2, 3)}))

    @property
    def pads_in_front(self) -> bool:
        """Whether prompts of several lengths are sampled together."""
        return self.model.conduct.pads_in_front

    @property
    def steers_replies(self) -> bool:
        """Whether plans act on replies: not where a model is fed the whole text for every token."""
        return self.model.conduct.feeds_once

    @property
    def middle(self) -> int:
        """The block half-way up."""
        return self.layers[len(self.layers) // 2]

    @cached_property
    def conversations(self) -> list[list[dict[str, str]]]:
        """Finished conversations of three lengths, one with a system prompt, one with two turns."""
        encoder = self.model.encoder
        (first, answer), (second, reply), (third, last) = TURNS
        return [
            [*encoder.messages(first, system=SYSTEM), _says(answer)],
            [
                *encoder.messages(third),
                _says(last),
                {"role": "user", "content": first},
                _says(answer),
            ],
            [*encoder.messages(second), _says(reply)],
        ]

    @cached_property
    def transcripts(self) -> list[Transcript]:
        """The conversations, encoded."""
        return [answered(self.model.encoder, messages) for messages in self.conversations]

    @cached_property
    def prompts(self) -> list[Transcript]:
        """The same conversations, waiting for their last answer."""
        return [self.model.encoder.prompt(messages[:-1]) for messages in self.conversations]

    @cached_property
    def direction(self) -> Direction:
        """A random direction at every layer, always the same one."""
        shape = (self.model.n_layers, self.model.d_model)
        values = np.random.default_rng(0).standard_normal(shape)
        return Direction("random", tuple(range(self.model.n_layers)), values)

    @cached_property
    def baseline(self) -> Reading:
        """The transcripts read without any plan, right-padded.

        Raises:
            ModelError: The residual stream is not finite; nothing can be measured on it.
        """
        found = read(self.model, self.transcripts)
        if not_finite(found):
            raise ModelError(
                "the residual stream is not finite",
                expected="a dtype with room for its largest numbers",
                given=str(self.model.dtype).removeprefix("torch."),
                remedy="load the model in bfloat16 or float32",
            )
        return found

    @cached_property
    def noise(self) -> float:
        """Largest difference of two equal readings: 0 unless the model itself is not repeatable."""
        return largest_difference(read(self.model, self.transcripts), self.baseline)

    def places(self, *groups: str) -> Bool[np.ndarray, "batch position"]:
        """Where a plan on some token groups should act in the baseline's batch, worked out anew; all by default.

        That is without pads, BOS and the positions of attention sinks.
        """
        chosen = np.zeros_like(self.baseline.present)
        for row, transcript in enumerate(self.transcripts):
            wanted = np.ones(len(transcript), dtype=bool)
            if groups:
                wanted = np.any([transcript.mask(group) for group in groups], axis=0)
            wanted[[sink for sink in self.model.sinks if sink < len(transcript)]] = False
            if transcript.ids[0] == self.model.tokenizer.bos_token_id:
                wanted[0] = False
            chosen[row, : len(transcript)] = wanted
        return chosen

    def projections(
        self, layer: int, chosen: Bool[np.ndarray, "batch position"], reading: Reading | None = None
    ) -> Float[np.ndarray, " token"]:
        """Projections on the random direction of chosen tokens, in float64; of the baseline by default."""
        residual = (reading or self.baseline).by_layer[layer].double().numpy()
        return residual[chosen] @ self.direction.units[layer]

    def norms(
        self, layer: int, chosen: Bool[np.ndarray, "batch position"], reading: Reading | None = None
    ) -> Float[np.ndarray, " token"]:
        """Norms of the residuals of chosen tokens, in float64; of the baseline by default."""
        residual = (reading or self.baseline).by_layer[layer].double().numpy()
        return np.linalg.norm(residual[chosen], axis=1)

    def threshold(self, layer: int, chosen: Bool[np.ndarray, "batch position"]) -> float:
        """About the median projection, in the widest gap there: rounding cannot carry a token across."""
        ranked = np.sort(self.projections(layer, chosen))
        start = int(0.4 * len(ranked))
        central = ranked[start : max(start + 2, int(0.6 * len(ranked)))]
        widest = int(np.diff(central).argmax())
        return float(central[widest : widest + 2].mean())

    @cached_property
    def plan(self) -> Plan:
        """Floors on every token at three layers; in the middle, sampled tokens are pushed by a residual norm."""
        everywhere = self.places()
        thresholds = [self.threshold(layer, everywhere) for layer in self.layers]
        push = float(np.median(self.norms(self.middle, everywhere)))
        floor = Floor(self.direction.at(self.layers), thresholds=np.array(thresholds))
        add = Add(self.direction.at([self.middle]), lengths=np.array([push]))
        return Plan.of(floor) + Plan.of(add).where("generated")


def least_changed(receipt: Receipt) -> int:
    """Tokens changed by the step that changed fewest, over its layers."""
    frame = receipt.frame()
    return min(
        int(frame.loc[frame["step"] == step, "changed"].sum()) for step in set(frame["step"])
    )


def _says(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}
