"""The Python that loads an adapter with PEFT, ready to paste; bottleneck layers, which PEFT lacks,
are loaded with Rankscope."""

from __future__ import annotations

from lora_engine.adapters.summary import AdapterSummary
from lora_engine.base_models import resolve_base_model
from lora_engine.chat_template import TEMPLATE_FILE
from lora_engine.errors import EngineError
from lora_engine.settings import Settings

UNNAMED = "ORG/BASE-MODEL"
_ADAPTER = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = {base!r}
adapter = {adapter!r}

tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
model = PeftModel.from_pretrained(model, adapter)
"""
_BOTTLENECK = """\
from lora_engine.adapters.bottleneck_layers import load_bottleneck
from transformers import AutoModelForCausalLM, AutoTokenizer

base = {base!r}
adapter = {adapter!r}

tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
model = load_bottleneck(model, adapter)
"""
_MODEL = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

name = {name!r}

tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
"""
_TEMPLATE = """\
with open(adapter + "/chat_template.jinja", encoding="utf-8") as file:
    tokenizer.chat_template = file.read()
"""
_ANSWER = """\
model.eval()

inputs = {inputs}
output = model.generate(**inputs, max_new_tokens=40, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""
_CHAT = """tokenizer.apply_chat_template(
    [{"role": "user", "content": "Hello"}],
    add_generation_prompt=True,
    return_dict=True,
    return_tensors="pt",
)"""
_TEXT = 'tokenizer("Hello", return_tensors="pt")'


def loading_code(summary: AdapterSummary, settings: Settings, with_template: bool) -> str:
    """A program that loads base and adapter and answers once.

    with_template: whether the adapter learned rows written with a chat template.
    """
    base = _base(summary.base_model, settings)
    program = _BOTTLENECK if summary.kind == "bottleneck" else _ADAPTER
    has_file = with_template and (summary.path / TEMPLATE_FILE).is_file()
    opening = program.format(base=base, adapter=str(summary.path))
    return opening + (_TEMPLATE if has_file else "") + _answer(with_template)


def adapter_program(base: str, adapter: str, with_template: bool) -> str:
    """As `loading_code`, of a base and an adapter by their folders or hub ids."""
    return _ADAPTER.format(base=base, adapter=adapter) + _answer(with_template)


def model_program(name: str, with_template: bool) -> str:
    """As `loading_code`, of a whole model by its folder or hub id."""
    return _MODEL.format(name=name) + _answer(with_template)


def _answer(with_template: bool) -> str:
    return _ANSWER.format(inputs=_CHAT if with_template else _TEXT)


def _base(name: str | None, settings: Settings) -> str:
    if name is None:
        return UNNAMED
    try:
        return resolve_base_model(name, settings).source
    except EngineError:
        return name
