"""Embeddings from any OpenAI-compatible server: batches side by side, with retries; the key stays unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from persona_lens.endpoints import Call, Endpoint, EndpointSettings, Failure
from persona_lens.errors import EndpointError


class ServedEmbedder:
    """Vectors by the embeddings of a server: OpenAI, vLLM, llama.cpp, text-embeddings-inference.

    Args:
        settings: Which server and model; `extra_body` may name `dimensions`.
        batch_size: Texts in one request; servers allow 32 to 2,048.

    Raises:
        EndpointError: When called: no key, wrong key, no such model, a server that is down, or a batch that the
            server refuses or does not answer.

    Examples:
        >>> settings = EndpointSettings(model="bge", base_url="http://127.0.0.1:8000/v1")
        >>> ServedEmbedder(settings, batch_size=32).name
        'bge at 127.0.0.1'
    """

    def __init__(self, settings: EndpointSettings, *, batch_size: int = 32) -> None:
        self.settings = settings
        self.name = f"{settings.model} at {settings.host()}"
        self.texts_per_call = batch_size * settings.concurrency
        self._batch_size = batch_size
        self._endpoint = Endpoint(settings)

    def fingerprint(self) -> str:
        """Of the model's name and what is asked beside it: what the server really runs, it alone knows."""
        asked = json.dumps([self.settings.model, self.settings.extra_body], sort_keys=True)
        return "served-" + hashlib.sha256(asked.encode()).hexdigest()[:16]

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "text dim"]:
        """Vectors as the server gives them."""
        starts = range(0, len(texts), self._batch_size)
        calls = (Call(at, inputs=list(texts[at : at + self._batch_size])) for at in starts)
        found: dict[object, np.ndarray] = {}
        for call, outcome in self._endpoint.map(calls):
            if isinstance(outcome, Failure):
                raise EndpointError(
                    f"{self.settings.host()} gave no embeddings for a batch of {len(call.inputs or ())} texts",
                    given=f"{outcome.detail} ({outcome.reason}, attempts: {outcome.attempts})",
                    remedy="a smaller batch_size, shorter texts, or another model"
                    if outcome.reason == "bad_request"
                    else "see that the server serves /v1/embeddings, then try again",
                )
            found[call.key] = np.array(outcome.vectors, dtype=np.float32)
        dims = {vectors.shape[-1] for vectors in found.values()}
        if len(dims) > 1:
            raise EndpointError(
                f"{self.settings.host()} gave embeddings of more than one length",
                given=sorted(dims),
                remedy="see that one model alone answers at this address",
            )
        return np.concatenate([found[at] for at in starts])
