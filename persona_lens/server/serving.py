"""Running a server: a canary first, then requests until a signal, then a drain.

    serve(served, port=8000)                    # until Ctrl-C
    with Serving(served, port=0) as server:     # beside other work, as in tests and notebooks
        client = openai.OpenAI(base_url=server.url, api_key="-")

On SIGINT or SIGTERM nothing new is taken; what runs has `limits.grace` seconds to come to its end, and is told
then that the server ends. A second signal ends it at once.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import threading
from types import FrameType

import uvicorn
from typing_extensions import Self

from persona_lens.errors import ServerError
from persona_lens.server.app import application
from persona_lens.server.canary import canary
from persona_lens.server.chatting import Chat
from persona_lens.server.desk import MakeBatch, continuous
from persona_lens.server.served import Served

LOG = logging.getLogger("persona_lens.server")
LOOPBACK = "127.0.0.1"
_LEAST_KEY = 16
_MARGIN = 5.0  # seconds behind the grace, for replies to be told


class Serving:
    """A server of one model.

    Args:
        served: What is served.
        host: Where it listens; anything but a loopback address needs a key.
        port: Likewise; 0 for any that is free.
        key: That requests have to bring.
        checked: Try the plans first; see `persona_lens.server.canary`.
        make: Makes the batch that replies are written in.
        chat: A page to talk to the model with; None for none.

    Raises:
        ServerError: No key where one is needed, or the canary found something.
    """

    def __init__(
        self,
        served: Served,
        *,
        host: str = LOOPBACK,
        port: int = 8000,
        key: str | None = None,
        checked: bool = True,
        make: MakeBatch = continuous,
        chat: Chat | None = None,
    ) -> None:
        check_exposure(host, key)
        self.app = application(served, key=key, make=make, chat=chat)
        if checked:
            for found in canary(served, self.app.desk.worker.batch):
                LOG.info("canary: %s", found)
        self._grace = served.limits.grace
        self._socket = _listening(host, port)
        self._address = self._socket.getsockname()[:2]
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(self._grace + _MARGIN) + 1,
        )
        self._server = _Drained(config, self.leave)
        self._thread: threading.Thread | None = None
        self._timer: threading.Timer | None = None

    @property
    def url(self) -> str:
        """Address for clients."""
        host, port = self._address
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{port}/v1"

    def run(self) -> None:
        """Answer requests until a signal."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._done()

    def leave(self) -> None:
        """Take nothing more; what runs has the grace to come to its end."""
        worker = self.app.desk.worker
        if self._timer is not None:
            return
        worker.leave()
        LOG.info("ending: %d replies have %g s", worker.open, self._grace)
        self._timer = threading.Timer(self._grace, worker.end)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.run, name="persona-lens-server", daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
            if not self._thread.is_alive():
                raise ServerError("the server did not start", given=self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        self._server.should_exit = True
        assert self._thread is not None
        self._thread.join()

    def _done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()


class _Drained(uvicorn.Server):
    """A server that tells when it is asked to end."""

    def __init__(self, config: uvicorn.Config, leave: object) -> None:
        super().__init__(config)
        self._leave = leave

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        assert callable(self._leave)
        self._leave()
        super().handle_exit(sig, frame)


def serve(
    served: Served, *, host: str = LOOPBACK, port: int = 8000, key: str | None = None
) -> None:
    """Serve until a signal; arguments and errors as for `Serving`."""
    server = Serving(served, host=host, port=port, key=key)
    LOG.info("serving %s at %s", served.name, server.url)
    server.run()


def check_exposure(host: str, key: str | None) -> None:
    """Refuse to be reachable from elsewhere without a key.

    Raises:
        ServerError: It would be.

    Examples:
        >>> check_exposure("127.0.0.1", None)
        >>> check_exposure("0.0.0.0", None)
        Traceback (most recent call last):
            ...
        persona_lens.errors.ServerError: others could use this server
          expected a key, given host 0.0.0.0 and none
          name the environment variable that holds one: --api-key-env NAME
    """
    if key is not None and len(key) < _LEAST_KEY:
        raise ServerError(
            "the key is too short to keep anybody out",
            expected=f"at least {_LEAST_KEY} characters",
            given=len(key),
        )
    if key is None and not _is_loopback(host):
        raise ServerError(
            "others could use this server",
            expected="a key",
            given=f"host {host} and none",
            remedy="name the environment variable that holds one: --api-key-env NAME",
        )


def key_of(variable: str | None) -> str | None:
    """The key in an environment variable.

    Raises:
        ServerError: It holds none.
    """
    if variable is None:
        return None
    found = os.environ.get(variable, "").strip()
    if not found:
        raise ServerError(
            "there is no key",
            expected=f"one in the environment variable {variable}",
            remedy="export it first; the key itself does not belong on the command line",
        )
    return found


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ServerError(
            f"cannot listen at {host}, port {port}",
            given=error.strerror,
            remedy="choose another with --port",
        ) from error
