"""The errors Persona Lens raises: what was expected, what was given, what to do next.

Examples:
    >>> raise ModelError("cannot read the weights", expected="a folder with config.json",
    ...                  given="/tmp/empty", remedy="pass the folder that holds config.json")
    Traceback (most recent call last):
        ...
    persona_lens.errors.ModelError: cannot read the weights
      expected a folder with config.json, given /tmp/empty
      pass the folder that holds config.json
"""

from __future__ import annotations

from typing import Any


class PersonaLensError(Exception):
    """Base of every error a user can cause or mend.

    Args:
        problem: What went wrong, in one line.
        expected: What would have been right.
        given: What was found instead.
        remedy: What to do next.

    The message has one to three lines, which is also what the command line prints.
    """

    def __init__(
        self,
        problem: str,
        *,
        expected: object = None,
        given: object = None,
        remedy: str | None = None,
    ) -> None:
        contrast = ", ".join(
            f"{word} {value}"
            for word, value in (("expected", expected), ("given", given))
            if value is not None
        )
        lines = [problem, *(f"  {line}" for line in (contrast, remedy) if line)]
        super().__init__("\n".join(lines))


def first_line(error: BaseException) -> str:
    """What an error says in one line; some say nothing but their name.

    Examples:
        >>> first_line(OSError("\\nno route\\nto host")), first_line(OSError())
        ('no route', 'OSError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class CatalogError(PersonaLensError):
    """A role, trait, question or prompt is malformed or unknown."""


class ConversationError(PersonaLensError):
    """A log of chats cannot be read, or what it holds is no conversation."""


class MonitorError(PersonaLensError):
    """A monitor cannot keep what is asked of it, or is asked about something it was not calibrated for."""


class DriftAlarm(PersonaLensError):
    """A conversation drifts; raised by a monitor that is told to.

    Attributes:
        alarms: A row for each conversation that alarms now, as in `Watch.alarms`.
        replies: All replies of the call, in its order.
    """

    def __init__(self, problem: str, *, given: str, alarms: Any, replies: list[Any]) -> None:
        super().__init__(problem, given=given)
        self.alarms = alarms
        self.replies = replies


class TranscriptError(PersonaLensError):
    """Messages cannot be turned into token ids and token groups faithfully."""


class ModelError(PersonaLensError):
    """A model cannot be loaded, read or run as asked."""


class DownloadError(ModelError):
    """Embedded weights could not be fetched, checked or unpacked."""


class InterventionError(PersonaLensError):
    """An operation, a plan or a choice of tokens does not make sense, or does not fit the model it is used on."""


class EndpointError(PersonaLensError):
    """A chat server cannot be reached, or refuses to serve: key, quota, model name or address."""


class ServerError(PersonaLensError):
    """A server cannot be started as asked, or its canary shows that plans would not act."""


class RunError(PersonaLensError):
    """A run folder is damaged, in use, or does not match what is asked of it."""


class SpaceError(PersonaLensError):
    """A persona space is not fitted, or is asked for something it does not hold."""


class EvaluationError(PersonaLensError):
    """An evaluation that cannot be asked, judged or read."""


class PathError(PersonaLensError):
    """A path cannot be read from or written to."""


class FigureError(PersonaLensError):
    """A figure cannot be drawn or exported."""


class PersonaLensWarning(UserWarning):
    """Something that works, and may not be what was meant; shown by default, and told from others' warnings."""


class ForeignWeightsWarning(PersonaLensWarning):
    """Directions act on other weights than those they were read from."""


class NotFiniteWarning(PersonaLensWarning):
    """Numbers of a model are infinite or none, so what is made of them says nothing."""
