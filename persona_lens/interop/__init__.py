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
| a space on the Hugging Face hub | `from_pretrained` | `save_pretrained`, `push_to_hub` |

Every reader says which layer a row is, and which way it points. No pickle is run. A writer refuses what its format
cannot say.
"""

from persona_lens.interop.capping_writing import write_capping_config
from persona_lens.interop.control_vector import read_control_vector, write_control_vector
from persona_lens.interop.hub import from_pretrained, push_to_hub, save_pretrained
from persona_lens.interop.paper_release import Release, read_axis, read_release
from persona_lens.interop.persona_vectors_format import read_persona_vector, write_persona_vector
from persona_lens.interop.pipeline_folders import read_pipeline, read_responses

__all__ = [
    "Release",
    "from_pretrained",
    "push_to_hub",
    "read_axis",
    "read_control_vector",
    "read_persona_vector",
    "read_pipeline",
    "read_release",
    "read_responses",
    "save_pretrained",
    "write_capping_config",
    "write_control_vector",
    "write_persona_vector",
]
