"""Tasks of lm-evaluation-harness by name: its own, those of this package, and files of the user's."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from persona_lens.errors import EvaluationError
from persona_lens.harnesses.own_tasks import TASKS
from persona_lens.spelling import did_you_mean


def load_tasks(
    tasks: Sequence[Any],
    include: Sequence[str | Path] = (),
    *,
    few_shot: int | None = None,
    generation: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Tasks, groups taken apart, by name.

    Args:
        tasks: Names, of tasks or groups; dicts or `Task` objects as lm-eval takes them.
        include: Folders with task files of the user's.
        few_shot: Examples before each item, where a task leaves it open; none by default.
        generation: Options for replies, over those of the tasks.

    Raises:
        EvaluationError: No task, or a name that nobody knows.
    """
    if not tasks:
        raise EvaluationError("there is no task", expected="at least one", given="none")
    with quiet():
        loaded = _manager(tasks, include).load(list(tasks))["tasks"]
    for task in loaded.values():
        own = task.get_config("num_fewshot")
        if few_shot is not None and own != 0:  # 0 in a task's file is meant
            task.set_config(key="num_fewshot", value=few_shot)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        if generation and task.get_config("output_type") == "generate_until":
            task.set_config(key="generation_kwargs", value=dict(generation), update=True)
    return loaded


def _manager(tasks: Sequence[Any], include: Sequence[str | Path]) -> Any:
    """One that knows the names; lm-eval's own thousands are looked through only where they are needed."""
    from lm_eval.tasks import TaskManager  # noqa: PLC0415

    folders: list[str | Path] = [str(TASKS), *map(str, include)]
    names = [task for task in tasks if isinstance(task, str)]
    for with_defaults in (False, True):
        manager = TaskManager(include_path=folders, include_defaults=with_defaults)
        unknown = [name for name in names if name not in manager.all_tasks]
        if not unknown:
            return manager
    raise EvaluationError(
        f"no task is called {unknown[0]!r}",
        expected="a name that `lm-eval ls tasks` shows, or one in the folders given",
        given=", ".join(unknown),
        remedy=did_you_mean(unknown[0], manager.all_tasks),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without lm-eval's bar over the building of prompts, and its notes; its errors are raised."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with patch("lm_eval.api.task.tqdm", lambda rows, **_: rows):
            yield
    finally:
        logger.setLevel(level)
