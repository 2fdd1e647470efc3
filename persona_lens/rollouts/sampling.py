"""How replies are sampled: by default as in the paper."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

_LEAST_TEMPERATURE = 1e-4


class Sampling(BaseModel):
    """Sampling settings; the defaults are the paper's (temperature 0.7, top-p 0.9) with shorter replies.

    `temperature=0` decodes greedily. `seed` makes a generation repeatable on the same machine with the same
    batches.

    Examples:
        >>> Sampling(max_new_tokens=64).temperature
        0.7
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=0.7, ge=0, le=100)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_new_tokens: int = Field(default=128, ge=1, le=2**20)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @field_validator("temperature")
    @classmethod
    def _check_temperature(cls, temperature: float) -> float:
        if 0 < temperature < _LEAST_TEMPERATURE:  # logits divided by it would overflow
            raise ValueError(f"is 0 for greedy decoding, or at least {_LEAST_TEMPERATURE}")
        return temperature
