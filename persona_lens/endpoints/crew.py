"""Workers that ask a server side by side, on an event loop in a thread of their own.

A thread, so that it is all the same whether the caller runs a loop already, as notebooks do.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from queue import SimpleQueue

import anyio  # comes with openai, like httpx2
import httpx2
import openai

from persona_lens.endpoints.bodies import body_text, make_readable, parsed
from persona_lens.endpoints.calls import Call, Completion, Failure, Retry
from persona_lens.endpoints.faults import Fault, error_in_place_of_answer, status_fault
from persona_lens.endpoints.pace import Gate, random_backoff
from persona_lens.endpoints.secrets import Secret
from persona_lens.endpoints.settings import EndpointSettings
from persona_lens.endpoints.wire import (
    BadAnswerError,
    Dialect,
    read_completion,
    read_embeddings,
)
from persona_lens.errors import EndpointError

_LOG = logging.getLogger("persona_lens.endpoints")
_DETAIL_LENGTH = 300
_SEARCHED_LENGTH = 20_000  # of an error's text, for the key
_REFUSALS_PER_LOSS = 8
_ROUNDS_TO_CLOSE = 3  # of the loop, until the sockets of closed connections are closed too


@dataclass(frozen=True)
class Stopped:
    """The last thing that arrives: why the workers stopped, or None where they were told to."""

    error: BaseException | None


class Crew:
    """As many workers as calls may be in flight, at work between `start` and `close`.

    Calls go in by `put`; outcomes, retries and the end come out of `arrived`.

    Args:
        settings: Of the endpoint.
        key: The API key.
        gate: Shared by all crews of the endpoint.
        dialect: Likewise.
    """

    def __init__(self, settings: EndpointSettings, key: str, gate: Gate, dialect: Dialect) -> None:
        self.arrived: SimpleQueue[tuple[Call, Completion | Failure] | Retry | Stopped]
        self.arrived = SimpleQueue()
        self._settings = settings
        self._key = key
        self._secret = Secret(key)
        self._gate = gate
        self._dialect = dialect
        self._address = settings.url()
        # Made once: it takes longer than all else that a client needs.
        encrypted = settings.url().startswith("https:")
        self._verify = httpx2.create_ssl_context() if encrypted else False
        self._clients: list[openai.AsyncOpenAI] = []
        self._successes = 0
        self._lost_in_a_row = 0
        self._refused = 0
        self._put_off = False  # whether that is how the last call was lost
        self._waiting: asyncio.Queue[Call] = asyncio.Queue()
        self._closing = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to work."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run, args=(self._loop,), name="persona-lens-endpoint", daemon=True
        )
        # At exit a daemon thread is frozen wherever it is; whoever joined it then would wait forever.
        atexit.register(self.close)
        self._thread.start()

    def put(self, call: Call) -> None:
        """Have a call answered."""
        assert self._loop is not None, "put before start"
        self._loop.call_soon_threadsafe(self._waiting.put_nowait, call)

    def close(self) -> None:
        """Cancel what is in flight and take down connections, loop and thread. May be called twice."""
        atexit.unregister(self.close)
        loop, thread = self._loop, self._thread
        if loop is None or thread is None or loop.is_closed():
            return
        loop.call_soon_threadsafe(self._closing.set)
        # The garbage collector closes forgotten iterators in any thread, even in this crew's.
        if threading.current_thread() is not thread:
            thread.join()
            loop.close()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_until_complete(self._work())
        finally:
            self.arrived.put(Stopped(None))  # nobody waits for what will not come

    async def _work(self) -> None:
        closing = asyncio.ensure_future(self._closing.wait())
        workers = [asyncio.ensure_future(self._worker()) for _ in range(self._settings.concurrency)]
        await asyncio.wait([closing, *workers], return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        # A cancellation that meets the end of a wait can get lost, hence more than one round.
        left: Iterable[asyncio.Future[None]] = workers
        while left:
            for worker in left:
                worker.cancel()
            _, left = await asyncio.wait(left, timeout=0.5)
        errors = [worker.exception() for worker in workers if not worker.cancelled()]
        for client in self._clients:
            await client.close()
        for _ in range(_ROUNDS_TO_CLOSE):
            await asyncio.sleep(0)
        self.arrived.put(Stopped(next((error for error in errors if error), None)))

    async def _worker(self) -> None:
        client = None
        while not self._closing.is_set():
            call = await self._waiting.get()
            client = client or self._client()
            outcome = await self._outcome(client, call)
            self.arrived.put((call, outcome))
            self._stop_if_hopeless(outcome)

    def _client(self) -> openai.AsyncOpenAI:
        """One per worker: the pool of a client shared by all searches its connections for every call."""
        http = openai.DefaultAsyncHttpxClient(
            verify=self._verify,
            # What is on this machine is not behind the proxy that the environment may name.
            trust_env=not self._settings.is_local(),
            event_hooks={"response": [make_readable]},
        )
        client = openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._settings.url(),
            timeout=self._settings.timeout,
            max_retries=0,
            http_client=http,
        )
        self._clients.append(client)
        return client

    async def _outcome(self, client: openai.AsyncOpenAI, call: Call) -> Completion | Failure:
        settings, attempt = self._settings, 0
        while True:
            await self._gate.passed()
            attempt += 1
            before = self._successes
            result = await self._attempt(client, call)
            if isinstance(result, Completion):
                self._successes += 1
                return result
            if result.then == "stop":
                raise result.error()
            if result.then == "leave":
                self._refused += not result.too_long
                return Failure("bad_request", result.detail, attempt)
            if result.wait and self._successes > before:
                attempt -= 1  # put off, but the server does work: it will be this call's turn
            if attempt >= settings.max_attempts:
                self._put_off = result.put_off
                return Failure(result.reason, result.detail, attempt)
            await self._wait(call, attempt, result)

    async def _wait(self, call: Call, attempt: int, fault: Fault) -> None:
        settings = self._settings
        delay = fault.wait or random_backoff(attempt, settings.backoff, settings.longest_backoff)
        self.arrived.put(Retry(call, attempt, delay, fault.detail))
        if fault.wait:
            self._gate.pause(fault.wait)
        else:
            await asyncio.sleep(delay)

    async def _attempt(self, client: openai.AsyncOpenAI, call: Call) -> Completion | Fault:
        """Ask; and ask at once in other words where the server does not take the first."""
        spoken = replace(self._dialect)
        result = await self._post(client, spoken.body(call, self._settings))
        asked_for_length = call.max_tokens is not None and spoken.takes_max_tokens
        if _refused(result, "max_completion_tokens") and asked_for_length:
            spoken.takes_max_tokens = self._dialect.takes_max_tokens = False
            result = await self._post(client, spoken.body(call, self._settings))
        asked_for_format = call.response_format is not None and spoken.takes_response_format
        if _refused(result) and asked_for_format:
            # Servers word this refusal in many ways: that it goes well without the format is what tells.
            spoken.takes_response_format = False
            plain = await self._post(client, spoken.body(call, self._settings))
            if isinstance(plain, Completion) and self._dialect.takes_response_format:
                self._dialect.takes_response_format = False
                _LOG.warning(
                    "%s refuses response_format and is asked without it", self._settings.host()
                )
            return plain
        return result

    async def _post(self, client: openai.AsyncOpenAI, body: dict) -> Completion | Fault:
        settings = self._settings
        of_text = "prompt" in body
        of_vectors = "input" in body and "messages" not in body
        path = "/completions" if of_text else "/chat/completions"
        path = "/embeddings" if of_vectors else path
        text = ""
        try:
            # The client's timeout is for each read; a server that sends a blank now and then evades it.
            with anyio.fail_after(settings.timeout):
                # Not by `chat.completions.create`: its typed bodies double what a call costs.
                answer = await client.post(self._address + path, body=body, cast_to=httpx2.Response)
            text = self._secret.whole_hidden(body_text(answer))
            if of_vectors:
                return read_embeddings(text, len(body["input"]))
            return self._without_key(read_completion(text, of_text=of_text))
        except BadAnswerError as error:
            plain = Fault("retry", str(error), error.reason)
            said = parsed(text) if error.error is None else {"error": error.error}
            fault = error_in_place_of_answer(said, plain, settings)
        except (TimeoutError, openai.APITimeoutError):
            fault = Fault("retry", f"no answer within {settings.timeout:g} s")
        except openai.APIStatusError as error:
            body = parsed(body_text(error.response))
            fault = status_fault(error.status_code, body, error.response.headers, settings)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            fault = Fault("retry", f"no connection to {settings.host()}: {cause or type(cause)}")
            if isinstance(cause, httpx2.DecodingError):
                unreadable = f"an answer that cannot be unpacked: {cause}"
                fault = Fault("retry", unreadable, "invalid_response")
        except UnicodeEncodeError:
            fault = Fault("leave", "the messages hold half a surrogate pair, which is no text")
        except RecursionError:
            fault = Fault("retry", "an answer nested too deep to be read", "invalid_response")
        return replace(fault, detail=self._shown(fault.detail))

    def _without_key(self, answer: Completion) -> Completion:
        """An answer that does not echo the key, not even where it came in pieces."""
        said = {"text": answer.text, "thinking": answer.thinking, "refusal": answer.refusal}
        hidden = {name: self._secret.whole_hidden(text) for name, text in said.items() if text}
        return answer if hidden.items() <= said.items() else replace(answer, **hidden)

    def _shown(self, detail: str) -> str:
        """A detail without the key, on one line and cut: in this order, or a piece of the key would stay."""
        line = " ".join(self._secret.hidden(detail[:_SEARCHED_LENGTH]).split())
        line = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
        return line if len(line) <= _DETAIL_LENGTH else line[:_DETAIL_LENGTH] + "..."

    def _stop_if_hopeless(self, outcome: Completion | Failure) -> None:
        host, patience = self._settings.host(), self._settings.give_up_after
        if isinstance(outcome, Completion):
            self._lost_in_a_row = 0
        elif outcome.reason != "bad_request":
            self._lost_in_a_row += 1
            if self._lost_in_a_row >= patience:
                what = "puts off every call" if self._put_off else "seems to be down"
                raise EndpointError(
                    f"{host} {what}: {self._lost_in_a_row} calls in a row failed "
                    f"{outcome.attempts} times each",
                    given=outcome.detail,
                    remedy=f"ask for less at a time than concurrency={self._settings.concurrency}, or wait, "
                    "then run the same again"
                    if self._put_off
                    else f"see that the server at {self._settings.url()} runs, then run the same again",
                )
        # A setting that the model does not take makes every call fail; a call too long only itself.
        elif not self._successes and self._refused >= _REFUSALS_PER_LOSS * patience:
            raise EndpointError(
                f"{host} refused each of the first {self._refused} calls",
                given=outcome.detail,
                remedy="change what the calls ask for, such as the temperature or max_tokens",
            )


def _refused(result: Completion | Fault, wording: str = "") -> bool:
    """Whether the server did not take the request, for a reason that other words might mend."""
    return (
        isinstance(result, Fault)
        and result.then == "leave"
        and not result.too_long
        and wording in result.detail
    )
