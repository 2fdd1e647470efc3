"""Speaks to any OpenAI-compatible chat server; knows nothing of personas, models or runs.

Names that need the `openai` client load it when the first call is made.

Examples:
    >>> settings = EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1", concurrency=32)
    >>> call = Call("q1", [{"role": "user", "content": "Why does the tide come in?"}], max_tokens=64)
    >>> for call, outcome in Endpoint(settings).map([call]):  # doctest: +SKIP
    ...     print(call.key, outcome.text if isinstance(outcome, Completion) else outcome.detail)
"""

from persona_lens.endpoints.calls import Call, Completion, Failure, Retry
from persona_lens.endpoints.endpoint import Endpoint
from persona_lens.endpoints.settings import EndpointSettings

__all__ = ["Call", "Completion", "Endpoint", "EndpointSettings", "Failure", "Retry"]
