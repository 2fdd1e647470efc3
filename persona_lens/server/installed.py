"""Whether what the server needs is there: the extra `serve`."""

from importlib import import_module

from persona_lens.errors import ServerError

NEEDED = ("fastapi", "prometheus_client", "uvicorn")


def check_installed() -> None:
    """Refuse to begin without the extra.

    Raises:
        ServerError: It is not installed.

    Examples:
        >>> check_installed()
    """
    try:
        for name in NEEDED:
            import_module(name)
    except ModuleNotFoundError as error:
        raise ServerError(
            "the server is not installed",
            given=f"no {error.name}",
            remedy='pip install "persona-lens[serve]"',
        ) from error
