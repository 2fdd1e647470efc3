"""Many calls to one chat server, answered as they arrive."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from queue import Empty
from typing import TYPE_CHECKING

from persona_lens.endpoints.calls import Call, Completion, Failure, Retry
from persona_lens.endpoints.pace import Gate
from persona_lens.endpoints.settings import EndpointSettings
from persona_lens.endpoints.wire import Dialect
from persona_lens.errors import EndpointError

if TYPE_CHECKING:
    from persona_lens.endpoints.crew import Crew

# Seconds. A wait without end cannot be interrupted from the keyboard everywhere.
_LONGEST_WAIT = 0.5
_CHECK_TOKENS = 16
_CHECK_ATTEMPTS = 2
_LIST_TIMEOUT = 5.0  # seconds
_NAMES_SHOWN = 5


class Endpoint:
    """A model behind an OpenAI-compatible chat server: OpenAI, vLLM, llama.cpp, `transformers serve`.

    Calls that fail for a passing reason (no connection, no answer in time, too many requests, errors of the
    server, answers that are none) are asked again after a growing, random wait. Where the server says how long
    to wait, everyone waits.

    Args:
        settings: Which server and model, and how hard to try.

    Examples:
        >>> settings = EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1")
        >>> Endpoint(settings)
        Endpoint('qwen3' at http://127.0.0.1:8000/v1)
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        self._gate = Gate()
        self._dialect = Dialect()

    def __repr__(self) -> str:
        return f"Endpoint({self.settings.model!r} at {self.settings.url()})"

    def map(
        self, calls: Iterable[Call], *, on_retry: Callable[[Retry], None] | None = None
    ) -> Iterator[tuple[Call, Completion | Failure]]:
        """Answer calls side by side; each comes back once, in order of arrival.

        Calls are taken from `calls` in the caller's thread and never more than twice `concurrency` ahead of what
        has been given back, so an endless iterable and a slow consumer both do. Closing the iterator, or losing
        it by an exception, cancels what is in flight; one kept in a variable is closed by its `close()`.

        Args:
            calls: What to ask.
            on_retry: Told of each call that will be asked again, in the caller's thread.

        Raises:
            EndpointError: No key, wrong key, no quota, no such model, or a server that seems to be down. All that
                arrived before has been given back.

        Examples:
            >>> from persona_lens.endpoints import Call, Endpoint, EndpointSettings
            >>> endpoint = Endpoint(EndpointSettings(model="m", base_url="http://127.0.0.1:9/v1"))
            >>> list(endpoint.map([]))
            []
        """
        return self._stream(self._crew(self.settings), iter(calls), on_retry)

    def ask(self, call: Call) -> Completion:
        """Answer one call.

        Raises:
            EndpointError: As in `map`, or this call failed.
        """
        return self._ask(call, self.settings)

    def check(self) -> Completion:
        """Ask for a few tokens, to learn at once whether server, key and model name are right.

        Raises:
            EndpointError: They are not. For a name the server does not list it tells those it does.
        """
        self.settings.api_key()
        few = {"max_attempts": _CHECK_ATTEMPTS, "longest_backoff": _LONGEST_WAIT}
        hello = [{"role": "user", "content": "Say yes."}]
        try:
            call = Call("check", hello, max_tokens=_CHECK_TOKENS)
            return self._ask(call, self.settings.model_copy(update=few))
        except EndpointError as error:
            known = self._known_models()
            if not known or self.settings.model in known:
                raise
            happened = " ".join(str(error).split())
        likely = difflib.get_close_matches(self.settings.model, known, _NAMES_SHOWN, cutoff=0.0)
        raise EndpointError(
            f"{self.settings.host()} does not list a model {self.settings.model!r}",
            given=happened,
            remedy=f"it lists {', '.join(likely)}" + " and others" * (len(likely) < len(known)),
        )

    def _known_models(self) -> list[str]:
        """Names that the server knows, or none where it does not tell."""
        import openai  # noqa: PLC0415 - half a second

        settings = self.settings
        client = openai.OpenAI(
            api_key=settings.api_key(),
            base_url=settings.url(),
            timeout=_LIST_TIMEOUT,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=not settings.is_local()),
        )
        try:
            with client:
                return sorted(model.id for model in client.models.list().data)
        # Servers answer this in many ways, and it is only for advice.
        except (openai.OpenAIError, AttributeError, TypeError, ValueError):
            return []

    def _ask(self, call: Call, settings: EndpointSettings) -> Completion:
        for _, outcome in self._stream(self._crew(settings), iter([call]), None):
            if isinstance(outcome, Completion):
                return outcome
            remedy = f"see that the server at {settings.url()} runs, then try again"
            raise EndpointError(
                f"{settings.host()} did not answer a call",
                given=f"{outcome.detail} ({outcome.reason}, attempts: {outcome.attempts})",
                remedy="change the call" if outcome.reason == "bad_request" else remedy,
            )
        raise AssertionError("a call came back without an outcome")

    def _crew(self, settings: EndpointSettings) -> Crew:
        from persona_lens.endpoints.crew import Crew  # noqa: PLC0415 - loads openai, half a second

        return Crew(settings, settings.api_key(), self._gate, self._dialect)

    def _stream(
        self, crew: Crew, calls: Iterator[Call], on_retry: Callable[[Retry], None] | None
    ) -> Iterator[tuple[Call, Completion | Failure]]:
        from persona_lens.endpoints.crew import Stopped  # noqa: PLC0415

        # Besides those in flight as many again, so that no worker waits for the consumer's thread.
        most = 2 * self.settings.concurrency
        out, more = 0, True
        try:
            crew.start()
            while more or out:
                # One in, at most one out: what has arrived does not wait for a slow source of calls,
                # and a slow consumer keeps the workers busy.
                if more and out < most:
                    call = next(calls, None)
                    if call is None:
                        more = False
                    else:
                        crew.put(call)
                        out += 1
                try:
                    arrival = crew.arrived.get(block=not more or out == most, timeout=_LONGEST_WAIT)
                except Empty:
                    continue
                if isinstance(arrival, Retry):
                    if on_retry is not None:
                        on_retry(arrival)
                elif isinstance(arrival, Stopped):
                    raise arrival.error or EndpointError("the calls were stopped from elsewhere")
                else:
                    out -= 1
                    yield arrival
        finally:
            crew.close()
