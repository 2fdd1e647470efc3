"""The connection to Ray: an existing cluster, or a small one on this machine for as long as it is needed.

Examples:
    >>> connection = RayConnection.open("10.0.0.1:6379")  # doctest: +SKIP
    >>> connection.resources()  # doctest: +SKIP
    {'CPU': 32.0, 'GPU': 8.0}
    >>> connection.close()  # doctest: +SKIP
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_lens.errors import RunError

_SECONDS_TO_ANSWER = 10.0
# Of lost workers and nodes we speak ourselves, in one line each; Ray prints pages about them, on standard output.
_RAY_NOTICES = (
    "A worker died or was killed|Raylet is terminated|has been marked dead"
    "|killed due to memory pressure|cannot be scheduled right now"
)
_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else some versions warn of how this is about to change
    "RAY_DEDUP_LOGS_SKIP_REGEX": _RAY_NOTICES,
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it prints a stack of addresses when the process is told to stop
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True)
class RayConnection:
    """A connection to Ray that leaves behind what it found.

    Attributes:
        ray: The module.
        local: Whether Ray was started on this machine for this connection, and ends with it.
        opened: Whether it is this connection's to close.
    """

    ray: Any
    local: bool
    opened: bool

    @classmethod
    def open(cls, address: str | None = None) -> RayConnection:
        """Connect; a connection the process has already is used and left open.

        Args:
            address: Of a cluster, such as `10.0.0.1:6379`, or `auto` for the one this machine belongs to. By
                default what `RAY_ADDRESS` says, else Ray is started here.

        Raises:
            RunError: Ray is not installed, does not answer, or the process is connected to another cluster.
        """
        ray = import_ray()
        with _environment(_QUIET):
            address = address or os.environ.get("RAY_ADDRESS")
            if address == "local":  # Ray's word for none
                address = None
            _refuse_client(address)
            if ray.is_initialized():
                _refuse_another(ray, address)
                return cls(ray, local=False, opened=False)
            _refuse_silence(address)
            try:
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **({} if address else {"include_dashboard": False}),
                )
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise RunError(
                    f"cannot connect to Ray at {address}" if address else "cannot start Ray here",
                    given=textwrap.shorten(str(error), 300),
                    remedy="see that `ray status` answers on this machine, and that Ray and Python have the same "
                    "versions on all nodes",
                ) from error
        return cls(ray, local=not address, opened=True)

    def resources(self) -> dict[str, float]:
        """CPUs and GPUs of the whole cluster."""
        found = self.ray.cluster_resources()
        return {kind: found.get(kind, 0.0) for kind in ("CPU", "GPU")}

    def close(self) -> None:
        """Disconnect; this ends Ray if it was started here, and leaves a cluster as it is."""
        if self.opened and self.ray.is_initialized():
            self.ray.shutdown()


def import_ray() -> Any:
    """The module, told to keep quiet if it is imported for the first time.

    Raises:
        RunError: Ray is not installed.
    """
    try:
        with _environment(_QUIET):
            import ray  # noqa: PLC0415
    except ImportError as error:
        raise RunError(
            "Ray is not installed", remedy='pip install "persona-lens[ray]", on every node'
        ) from error
    return ray


def _refuse_client(address: str | None) -> None:
    if address is not None and "://" in address:
        raise RunError(
            "Ray Client is not supported: results would pass through a proxy",
            expected="host:port, as `ray start --head` prints it, or auto",
            given=address,
            remedy="run the command on a machine of the cluster",
        )


def _refuse_another(ray: Any, address: str | None) -> None:
    present = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", present):
        raise RunError(
            "this process is connected to another Ray cluster",
            expected=address,
            given=present,
            remedy="leave the address out to use that one, or call ray.shutdown() first",
        )


def _refuse_silence(address: str | None) -> None:
    """Ray itself would try for a quarter of an hour to reach a cluster that is gone."""
    known = Path(
        os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", "ray_current_cluster"
    )
    if address == "auto" and known.is_file():  # where `ray start` leaves the address
        address = known.read_text("utf-8").strip()
    host, _, port = (address or "").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise RunError(
            f"no Ray cluster answers at {address}",
            given=error,
            remedy="start one there with `ray start --head`, or leave the address out to use this machine",
        ) from error


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set what is not set, for Ray and the processes it starts; afterwards everything is as it was."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
