"""Other people's formats, read and written: the paper's release, persona vectors, control vectors, the hub.

    from persona_lens.interop import read_release

    release = read_release("lu-christina/assistant-axis-vectors", model="qwen-3-32b")
    plan = release.plan("layers_46:54-p0.25")

| format | read | write |
| --- | --- | --- |
| the Assistant Axis release (`assistant_axis.pt`, ...) | `read_release`, `read_axis` | `write_capping_config` |
| its pipeline's `responses/`, `activations/`, `scores/` | `read_pipeline`, `read_responses` | |
| `persona_vectors` files (`evil_response_avg_diff.pt`) | `read_persona_vector` | `write_persona_vector` |
| control vectors of llama.cpp and repeng (`.gguf`) | `read_control_vector` | `write_control_vector` |
| specs of interp-engine, for vLLM | | `to_interp_engine`, `check_interp_engine` |
| requests to its server (`.json`) | `read_engine_request` | `write_engine_request` |
| the fork of vLLM with clamps, as modules | `read_steering_module` | `write_steering_module` |
| and as fields of a request | `read_steering_module` | `steering_fields` |
| steering requests to Neuronpedia | `read_neuronpedia_request` | `write_neuronpedia_request` |
| its axes (`axis.yaml`) | `read_neuronpedia_axis` | `write_neuronpedia_axis` |
| the folder of its demo (`persona.yaml`) | `read_neuronpedia_persona` | |
| a space on the Hugging Face hub | `from_pretrained` | `save_pretrained`, `push_to_hub` |

`write_plan` and `read_plan` take the name of a format.

Every reader says which layer a row is, and which way it points. No pickle is run. A writer refuses what its format
cannot say.
"""

from persona_lens.interop.capping_writing import write_capping_config
from persona_lens.interop.control_vector import read_control_vector, write_control_vector
from persona_lens.interop.engine_check import EngineCheck, check_interp_engine
from persona_lens.interop.engine_requests import read_engine_request, write_engine_request
from persona_lens.interop.hub import from_pretrained, push_to_hub, save_pretrained
from persona_lens.interop.interp_engine import EngineSteering, to_interp_engine
from persona_lens.interop.neuronpedia_axis import (
    NeuronpediaAxis,
    read_neuronpedia_axis,
    write_neuronpedia_axis,
)
from persona_lens.interop.neuronpedia_persona import NeuronpediaPersona, read_neuronpedia_persona
from persona_lens.interop.neuronpedia_steering import (
    neuronpedia_fields,
    read_neuronpedia_request,
    write_neuronpedia_request,
)
from persona_lens.interop.paper_release import Release, read_axis, read_release
from persona_lens.interop.persona_vectors_format import read_persona_vector, write_persona_vector
from persona_lens.interop.pipeline_folders import read_pipeline, read_responses
from persona_lens.interop.plan_files import read_plan, write_plan
from persona_lens.interop.vllm_steering import steering_fields, write_steering_module
from persona_lens.interop.vllm_steering_reading import read_steering_module

__all__ = [
    "EngineCheck",
    "EngineSteering",
    "NeuronpediaAxis",
    "NeuronpediaPersona",
    "Release",
    "check_interp_engine",
    "from_pretrained",
    "neuronpedia_fields",
    "push_to_hub",
    "read_axis",
    "read_control_vector",
    "read_engine_request",
    "read_neuronpedia_axis",
    "read_neuronpedia_persona",
    "read_neuronpedia_request",
    "read_persona_vector",
    "read_pipeline",
    "read_plan",
    "read_release",
    "read_responses",
    "read_steering_module",
    "save_pretrained",
    "steering_fields",
    "to_interp_engine",
    "write_capping_config",
    "write_control_vector",
    "write_engine_request",
    "write_neuronpedia_axis",
    "write_neuronpedia_request",
    "write_persona_vector",
    "write_plan",
    "write_steering_module",
]
