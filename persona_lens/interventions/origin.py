"""`Origin`: whose weights a direction was read from; plain data, compared by who knows a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """The model a direction was read from; empty where it is not known.

    Attributes:
        model: The name it was loaded by.
        fingerprint: Of its weights, as `PersonaModel.fingerprint`.
        architecture: Class of its module.
        dtype: Of its weights, which the fingerprint depends on.
        adapters: Those that acted, joined by "+".
    """

    model: str = ""
    fingerprint: str = ""
    architecture: str = ""
    dtype: str = ""
    adapters: str = ""

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Origin | None:
        """What a model's card tells; None where it names no model.

        Examples:
            >>> Origin.of_card({"model": "tiny", "fingerprint": "f00", "n_layers": 3})
            Origin(model='tiny', fingerprint='f00', architecture='', dtype='', adapters='')
            >>> Origin.of_card({"n_layers": 3}) is None
            True
        """
        if not card.get("model"):
            return None
        told = {name: card.get(name) or "" for name in ("fingerprint", "architecture", "dtype")}
        adapters = "+".join(map(str, card.get("adapters") or ()))
        return cls(str(card["model"]), **{k: str(v) for k, v in told.items()}, adapters=adapters)

    @property
    def name(self) -> str:
        """The model, with the adapters that its name leaves out."""
        behind = self.model.split("+")[1:]
        more = [each for each in self.adapters.split("+") if each and each not in behind]
        return "+".join([self.model, *more])

    def stored(self) -> dict[str, str]:
        """What is known, for JSON; `Origin(**stored)` reads it."""
        return {name: value for name, value in asdict(self).items() if value}
