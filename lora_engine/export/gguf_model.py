"""A whole model of the plain llama kind as a GGUF file: metadata, tokenizer, weights.

Every weight keeps its stored type, norms and biases become float32 as llama.cpp wants them, and the
rows of q and k are put into its order. What llama.cpp would compute otherwise is refused, and left
to its own converter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lora_engine.base_models import BaseModel, load_tokenizer
from lora_engine.base_models.finite_weights import refuse_non_finite
from lora_engine.base_models.model_config import read_config
from lora_engine.base_models.pretrained import UNFIT, in_one_line
from lora_engine.base_models.stored_quantization import stored_quantization
from lora_engine.base_models.weight_files import weight_files
from lora_engine.cancellation import NEVER_STOPPED, StopSignal
from lora_engine.errors import EngineError
from lora_engine.export.gguf_adapter import gguf_file, write_header
from lora_engine.export.gguf_names import USE_THE_CONVERTER, GgufBase, gguf_base
from lora_engine.export.gguf_tokenizer import write_tokenizer
from lora_engine.language import tr
from lora_engine.spectrum import ReportProgress, WorkMonitor
from lora_engine.weights.safetensors_file import SafetensorsFile, number_format, read_bytes

if TYPE_CHECKING:
    from gguf import GGUFWriter

MODEL_TYPE = "llama"
STORED = ("F32", "F16", "BF16")
BUFFER = ".rotary_emb.inv_freq"  # computed again from rope_theta
HEAD_WEIGHT = "lm_head.weight"


@dataclass(frozen=True)
class _Parameters:
    """What llama.cpp asks of a llama."""

    layers: int
    context_length: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    rope_theta: float
    norm_epsilon: float
    vocabulary: int


@dataclass(frozen=True)
class _Weight:
    """One stored tensor and what it becomes. widened: into float32."""

    file: SafetensorsFile
    stored: str
    name: str
    widened: bool

    @property
    def dtype(self) -> str:
        return self.file.entry(self.stored).dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.file.entry(self.stored).shape

    def read(self, base: GgufBase) -> np.ndarray:
        """The numbers as they are written, in llama.cpp's order of rows."""
        rows = read_bytes(self.file, self.stored).reshape(self.shape)
        if self.widened:
            rows = number_format(self.file.entry(self.stored)).widen(rows).astype("<f4")
        return np.ascontiguousarray(base.interleaved(self.stored.rpartition(".")[0], rows))


def write_model_gguf(
    model: BaseModel,
    folder: Path,
    file: Path,
    *,
    progress: ReportProgress | None = None,
    stop: StopSignal = NEVER_STOPPED,
) -> None:
    """Write the model in that folder as `file`, one tensor after another.

    Raises EngineError for a model that is not a plain llama, for quantized weights, for
    weights that are NaN or infinite, and as `write_tokenizer`; Stopped.
    """
    from gguf import GGUFType

    found = _parameters(model.name, folder)
    base = gguf_base(model.name, read_config(folder))
    if stored_quantization(BaseModel(model.name, folder)) is not None:
        raise EngineError(
            tr(
                "The weights of {name} are quantized; 16- and 32-bit weights are converted.",
                name=f"{model.name!r}",
            ),
            tr("Merge the adapter into the original weights, and convert that."),
        )
    refuse_non_finite(model.name, weight_files(folder))
    weights = list(_weights(base, folder))
    monitor = WorkMonitor(progress, stop)
    with gguf_file(file, base.kind.architecture) as writer:
        writer.add_type(GGUFType.MODEL)
        writer.add_name(model.name)
        _write_parameters(writer, found)
        writer.add_file_type(_file_type(weights))
        tokenizer = load_tokenizer(BaseModel(model.name, folder))
        write_tokenizer(writer, folder, tokenizer, found.vocabulary)
        for weight in weights:
            _announce(writer, weight)
        write_header(writer)
        for position, weight in enumerate(weights):
            monitor.step(position / len(weights), tr("writing {tensor}", tensor=weight.name))
            writer.write_tensor_data(weight.read(base))


def refuse_other_models(name: str, folder: Path) -> None:
    """Raises EngineError as `write_model_gguf`, where config.json alone says that it would."""
    _parameters(name, folder)


def _parameters(name: str, folder: Path) -> _Parameters:
    """config.json with the defaults that it leaves out, where llama.cpp computes what it says."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import LlamaConfig

    given = read_config(folder)
    model_type = given.pop("model_type", None)
    if model_type != MODEL_TYPE:
        raise EngineError(
            tr(
                "{name} is a model of the kind {model_type}; whole models of the kind "
                "{model_type_2} are converted here.",
                name=f"{name!r}",
                model_type=f"{model_type!r}",
                model_type_2=f"{MODEL_TYPE!r}",
            ),
            tr(USE_THE_CONVERTER),
        )
    try:
        config = LlamaConfig(**given)
    except (*UNFIT, StrictDataclassError) as error:
        raise EngineError(
            tr(
                "config.json of {name} describes no model: {in_one_line}",
                name=f"{name!r}",
                in_one_line=in_one_line(error),
            ),
            tr("Take the config.json that came with the weights."),
        ) from error
    rope = dict(config.rope_parameters or {})
    rotation = rope.get("rope_type", "default")
    if config.hidden_act != "silu" or rotation != "default":
        raise EngineError(
            tr(
                "{name} has the activation {hidden_act} and the rotation {rotation}; silu "
                "and default are converted here.",
                name=f"{name!r}",
                hidden_act=f"{config.hidden_act!r}",
                rotation=f"{rotation!r}",
            ),
            tr(USE_THE_CONVERTER),
        )
    heads = config.num_attention_heads
    return _Parameters(
        layers=config.num_hidden_layers,
        context_length=config.max_position_embeddings,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=heads,
        key_value_heads=config.num_key_value_heads or heads,
        head_dim=config.head_dim or config.hidden_size // heads,
        rope_theta=float(rope["rope_theta"]),
        norm_epsilon=config.rms_norm_eps,
        vocabulary=config.vocab_size,
    )


def _weights(base: GgufBase, folder: Path) -> Iterator[_Weight]:
    table = base.table()
    for file in weight_files(folder):
        for stored, entry in file.tensors.items():
            if stored.endswith(BUFFER) or (stored == HEAD_WEIGHT and not base.has_head):
                continue
            name = table.get_name(stored, try_suffixes=(".weight", ".bias"))
            if name is None or entry.dtype not in STORED:
                raise EngineError(
                    tr(
                        "{stored} of {name}, stored as {dtype}, has no place in llama.cpp's model.",
                        stored=stored,
                        name=f"{base.name!r}",
                        dtype=entry.dtype,
                    ),
                    tr(USE_THE_CONVERTER),
                )
            widened = len(entry.shape) < 2 or name.endswith("_norm.weight")
            yield _Weight(file, stored, name, widened)


def _write_parameters(writer: GGUFWriter, found: _Parameters) -> None:
    writer.add_block_count(found.layers)
    writer.add_context_length(found.context_length)
    writer.add_embedding_length(found.hidden)
    writer.add_feed_forward_length(found.intermediate)
    writer.add_head_count(found.heads)
    writer.add_head_count_kv(found.key_value_heads)
    writer.add_rope_freq_base(found.rope_theta)
    writer.add_layer_norm_rms_eps(found.norm_epsilon)
    writer.add_key_length(found.head_dim)
    writer.add_value_length(found.head_dim)
    writer.add_rope_dimension_count(found.head_dim)
    writer.add_vocab_size(found.vocabulary)


def _file_type(weights: list[_Weight]) -> int:
    """llama.cpp's number for the type that most numbers have."""
    from gguf import LlamaFileType

    sizes = dict.fromkeys(STORED, 0)
    for weight in weights:
        sizes[weight.dtype] += int(np.prod(weight.shape))
    types = {
        "F32": LlamaFileType.ALL_F32,
        "F16": LlamaFileType.MOSTLY_F16,
        "BF16": LlamaFileType.MOSTLY_BF16,
    }
    return types[max(sizes, key=lambda dtype: sizes[dtype])]


def _announce(writer: GGUFWriter, weight: _Weight) -> None:
    from gguf import GGMLQuantizationType

    number = np.dtype("<f4")
    if not weight.widened:
        number = number_format(weight.file.entry(weight.stored)).storage
    bfloat16 = weight.dtype == "BF16" and not weight.widened
    writer.add_tensor_info(
        weight.name,
        weight.shape,
        number,
        int(np.prod(weight.shape)) * number.itemsize,
        raw_dtype=GGMLQuantizationType.BF16 if bfloat16 else None,
    )
