"""An adapter taken away: the forms that other programs read, each with its proof.

service         Exports: what the engine offers
forms           the forms, and what each is in words
export_adapter  an adapter written in a form, whole or not there
portable        the same update from `r` and `lora_alpha` alone
ollama          a Modelfile with its adapter: template and stop tokens
go_template     a chat template in Go's language, derived and proven
gguf_export     GGUF files for llama.cpp, and those files read back
gguf_adapter    an adapter's file: tensors and keys
gguf_model      a whole llama's file
gguf_tokenizer  the tokenizer in it
gguf_names      names and row order in llama.cpp
llama_cpp       its own converters in a child process
model_card      README.md from what the adapter's own files say
hub             pushing an export to the model hub, in one commit
public_names    what others may be told of this machine's names
commands        what to type to serve an export, where it loads
load_rules      where an adapter loads: each program's rule with its source and date
written         the exports in the data folder: list, zip, delete
zip_download    an export as one zip, made while it is sent
voices          who answers: what was trained, written, and requantized
fidelity        does what was written answer as what was trained?
"""

from lora_engine.adapter_operations.merge_report import DType
from lora_engine.export.commands import ServeCommand, vllm_command
from lora_engine.export.export_adapter import ExportReport, ExportRequest, export_adapter
from lora_engine.export.fidelity import Fidelity, RequantizedFidelity
from lora_engine.export.forms import (
    DTYPE_HELP,
    FORM_WORDS,
    MEASURE_HELP,
    PRIVATE_HELP,
    PUSH_HELP,
    REQUANTIZATIONS,
    REQUANTIZED_HELP,
    SYSTEM_HELP,
    WITH_BASE_HELP,
    Form,
    Requantization,
    dtype_named,
    form_named,
    requantizations_named,
)
from lora_engine.export.hub import HubTarget, Pushed
from lora_engine.export.load_rules import LoadRule, where_it_loads
from lora_engine.export.portable import PortableReport, portable

__all__ = [
    "DTYPE_HELP",
    "DType",
    "FORM_WORDS",
    "MEASURE_HELP",
    "PRIVATE_HELP",
    "PUSH_HELP",
    "SYSTEM_HELP",
    "WITH_BASE_HELP",
    "ExportReport",
    "ExportRequest",
    "Fidelity",
    "Form",
    "HubTarget",
    "LoadRule",
    "PortableReport",
    "Pushed",
    "REQUANTIZATIONS",
    "REQUANTIZED_HELP",
    "Requantization",
    "RequantizedFidelity",
    "ServeCommand",
    "dtype_named",
    "export_adapter",
    "form_named",
    "portable",
    "requantizations_named",
    "vllm_command",
    "where_it_loads",
]
