"""What is said of replies that are whole, and what metrics count of them; in the worker's thread.

    Teller(served, metrics).told([Ended(job, wish, finished)])      # a `Done` for each

Replies that end together are read again together, where they are to be.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from persona_lens.errors import PersonaLensError, first_line
from persona_lens.model.continuous import Finished
from persona_lens.server.jobs import Done, Job, Wish
from persona_lens.server.metrics import Metrics
from persona_lens.server.readings import CleanReading, Said
from persona_lens.server.summaries import summary

if TYPE_CHECKING:
    from persona_lens.server.served import Served

LOG = logging.getLogger("persona_lens.server")


@dataclass(frozen=True, eq=False)
class Ended:
    """A reply that came to its end.

    Attributes:
        job: Of the request.
        wish: What was wanted.
        finished: What came.
    """

    job: Job
    wish: Wish
    finished: Finished


class Teller:
    """Says where replies lie and what was done to them.

    Args:
        served: What is served.
        metrics: Count it.
    """

    def __init__(self, served: Served, metrics: Metrics) -> None:
        self._reader = served.reader
        self._encoder = served.model.encoder
        self._metrics = metrics

    def told(self, ended: Sequence[Ended]) -> list[Done]:
        """What is said of each."""
        wholes = [
            self._encoder.with_reply(each.wish.request.prompt, each.finished.reply.ids)
            for each in ended
        ]
        again = [
            place
            for place, each in enumerate(ended)
            if each.job.persona.clean or self._reader.monitor is not None
        ]
        said = [Said(ended[place].wish.messages, wholes[place]) for place in again]
        read = dict(zip(again, self.read(said), strict=True))
        done = []
        for place, each in enumerate(ended):
            clean = read.get(place)
            about = summary(
                each.wish,
                each.job,
                each.finished,
                whole=wholes[place],
                reader=self._reader,
                clean=clean if isinstance(clean, CleanReading) else None,
            )
            if isinstance(clean, str):
                about["unread"] = clean
            self._count(each, about)
            done.append(Done(each.wish.choice, each.finished, about))
        return done

    def read(self, said: Sequence[Said]) -> list[CleanReading | str]:
        """The conversations with nothing acting, or why one cannot be read, which costs no other."""
        if not said:
            return []
        try:
            return list(self._reader.read(said))
        except PersonaLensError as error:
            if len(said) == 1:
                return [first_line(error)]
            return [found for each in said for found in self.read([each])]

    def _count(self, ended: Ended, about: dict[str, Any]) -> None:
        job, finished, metrics = ended.job, ended.finished, self._metrics
        plan = job.chosen.label
        metrics.ended(plan, finished.reply.finish)
        metrics.tokens(finished.prompt_tokens, len(finished.reply.ids))
        for reading, place in about["projection"].items():
            if place is not None:
                metrics.placed(plan, reading, place)
        if job.chosen.plan is not None:
            metrics.engaged(plan, about["tokens"]["engaged"])
        verdict = about["monitor"]
        if verdict is not None and verdict["alarming"] and verdict["since"] == verdict["turn"]:
            metrics.alert(plan)
            LOG.warning(
                "%s drifts: %s of %s at %.4g, above %.4g, at turn %d; plan=%s",
                job.id,
                verdict["statistic"],
                verdict["direction"],
                verdict["value"],
                verdict["threshold"],
                verdict["turn"],
                job.chosen.name,
            )
