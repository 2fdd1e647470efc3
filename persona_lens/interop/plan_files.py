"""Plans in files of any format there is, by its name: what the command line needs.

    write_plan(plan, "cap.json", "vllm-steering")
    plan = read_plan("cap.json")  # which format it is, it says itself

| format | for |
| --- | --- |
| `plan` | a folder for `Plan.load`: everything a plan can say |
| `interp-engine` | requests to interp-engine's server (`write_engine_request`) |
| `vllm-steering` | modules of the fork of vLLM that clamps (`write_steering_module`) |
| `neuronpedia` | steering requests to Neuronpedia's server (`write_neuronpedia_request`) |
| `capping-config` | the paper's released code (`write_capping_config`) |
| `control-vector` | llama.cpp and repeng (`write_control_vector`) |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from persona_lens.errors import InterventionError
from persona_lens.files import read_json
from persona_lens.interop.capping_writing import write_capping_config
from persona_lens.interop.control_vector import read_control_vector, write_control_vector
from persona_lens.interop.engine_requests import read_engine_request, write_engine_request
from persona_lens.interop.neuronpedia_steering import (
    read_neuronpedia_request,
    write_neuronpedia_request,
)
from persona_lens.interop.vllm_steering import write_steering_module
from persona_lens.interop.vllm_steering_reading import read_steering_module
from persona_lens.interventions import Add, Plan


def _capping(plan: Plan, path: Path) -> Path:
    return write_capping_config({path.stem: plan}, path)


_WRITERS: dict[str, tuple[Callable[[Plan, Path], Path], str]] = {
    "plan": (Plan.save, ""),
    "interp-engine": (write_engine_request, ".json"),
    "vllm-steering": (write_steering_module, ".json"),
    "neuronpedia": (write_neuronpedia_request, ".json"),
    "capping-config": (_capping, ".pt"),
    "control-vector": (write_control_vector, ".gguf"),
}
FORMATS = tuple(_WRITERS)


def write_plan(plan: Plan, path: str | Path, form: str = "plan") -> Path:
    """Write a plan in one of `FORMATS`.

    Args:
        plan: What to write.
        path: A folder for `plan`, a file for all others; the experiment in a capping configuration is called after
            it.
        form: The format.

    Raises:
        InterventionError: No such format, a name that is not of this format, or a plan that it has no words for.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from persona_lens.interventions import Ablate, Direction
        >>> plan = Plan.of(Ablate(Direction("ghost", (3,), np.eye(1, 8)))).where("generated")
        >>> file = Path(tempfile.mkdtemp()) / "ghost.json"
        >>> read_plan(write_plan(plan, file, "vllm-steering"))
        Plan of 1 step
          1. ablate 'ghost'; at layers 3; tokens generated, sinks too
    """
    if form not in _WRITERS:
        raise InterventionError("unknown format", expected=", ".join(FORMATS), given=form)
    write, suffix = _WRITERS[form]
    path = Path(path)
    if suffix and path.suffix != suffix:
        raise InterventionError(f"a file of format {form} ends in {suffix}", given=path.name)
    return write(plan, path)


def read_plan(path: str | Path) -> Plan:
    """Read a plan from a folder of `Plan.save`, or a file of any other format but a capping configuration.

    A control vector adds at strength 1 to every token, sinks too, as llama.cpp does.

    Raises:
        InterventionError: Nothing there, or of no format that is known. Capping configurations hold many plans:
            `read_release` reads them.
    """
    path = Path(path)
    if path.is_dir():
        return Plan.load(path)
    if path.suffix == ".gguf":
        direction = read_control_vector(path)
        return Plan.of(Add(direction, lengths=direction.lengths)).where("all", sinks=True)
    if path.suffix != ".json":
        raise InterventionError(
            "no plan of a known format",
            expected="a folder of plan.save, a .json file of a server, or a .gguf file",
            given=path,
        )
    try:
        content = read_json(path, InterventionError)
    except FileNotFoundError as error:
        raise InterventionError("no such file", given=path) from error
    keys = set(content) if isinstance(content, dict) else set()
    if "steering" in keys:
        return read_engine_request(path)
    return read_neuronpedia_request(path) if "steer_method" in keys else read_steering_module(path)
