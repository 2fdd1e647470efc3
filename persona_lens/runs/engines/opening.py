"""Whoever writes and reads the replies of a run, opened from names and settings.

spec = ModelSpec("google/gemma-2-27b-it", dtype="bfloat16")
with open_engine(spec, engine="ray", workers=8, gpus_per_worker=1) as engine:
    collect_run(None, "runs/gemma", engine=engine)

served = open_server(EndpointSettings(model=spec.source, base_url="http://127.0.0.1:8000/v1"), spec)
collect_run(None, "runs/gemma", served=served)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import RunError
from persona_lens.model import loading
from persona_lens.rollouts.serving import Rendering, ServedSource
from persona_lens.runs.engines.engine import Engine, LocalEngine
from persona_lens.runs.engines.ray_engine import RayEngine
from persona_lens.runs.engines.worker_spec import ModelSpec, WorkerSpec
from persona_lens.transcripts import TranscriptEncoder

EngineName = Literal["local", "ray"]


@contextmanager
def open_engine(
    writer: ModelSpec,
    reader: ModelSpec | None = None,
    *,
    engine: EngineName = "local",
    workers: int = 1,
    gpus_per_worker: float = 0,
    address: str | None = None,
) -> Iterator[Engine]:
    """Load the models, here or in each worker, and close what was opened at the end.

    Args:
        writer: Writes the replies.
        reader: Reads them; the writer by default.
        engine: `local` is this process, `ray` several workers.
        workers: With Ray, how many.
        gpus_per_worker: With Ray, of each worker.
        address: Of a Ray cluster that is running; a new one here by default.

    Raises:
        RunError: Workers without Ray, or as `RayEngine`.
        ModelError, DownloadError: From loading.
    """
    spec = WorkerSpec(writer, reader)
    if engine == "ray":
        with RayEngine(
            spec, workers=workers, gpus_per_worker=gpus_per_worker, address=address
        ) as opened:
            yield opened
        return
    if workers > 1 or address:
        raise RunError("several workers need an engine", remedy="add --engine ray")
    built = spec.build()
    yield LocalEngine(built.writer, built.reader)


def open_server(
    settings: EndpointSettings, model: ModelSpec, *, template: Rendering = "server"
) -> ServedSource:
    """A served model, with its tokenizer, which tells what its template does.

    Args:
        settings: Where it is served. A server that renders prompts itself is told the template's variables.
        model: Where its tokenizer is, and the variables; weights are not loaded.
        template: Who renders the prompts, `server` or `ours`.

    Raises:
        EndpointError: No key for the server.
        ModelError, DownloadError: From the tokenizer.
    """
    if model.template_kwargs and template == "server":
        body = {"chat_template_kwargs": dict(model.template_kwargs), **settings.extra_body}
        settings = EndpointSettings(**{**settings.model_dump(), "extra_body": body})
    settings.api_key()
    tokenizer = loading.load_tokenizer(
        loading.resolve_source(model.source), trust_remote_code=model.trust_remote_code
    )
    encoder = TranscriptEncoder(tokenizer, template_kwargs=model.template_kwargs)
    return ServedSource(settings, template=template, encoder=encoder)
