"""A byte-level BPE tokenizer in the keys of a GGUF file.

llama.cpp knows the rule that splits a text before the merges by a name of its own, and finds it
by a hash of published tokenizers. Here the rule is read from tokenizer.json: two of them say the
same as one of llama.cpp's names (src/llama-vocab.cpp, read on 2026-11-27). Everything else that
llama.cpp would not do is refused by the part that asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from lora_engine.base_models.tokenizer_files import MAX_BYTES, TOKENIZER_FILE
from lora_engine.data import chat_template_of, stop_tokens
from lora_engine.errors import EngineError
from lora_engine.export.gguf_names import USE_THE_CONVERTER
from lora_engine.files import read_json_object
from lora_engine.language import tr

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

DIGITS = {"type": "Digits", "individual_digits": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
PRE_TOKENIZERS: Mapping[str, list[dict[str, object]]] = {
    "gpt-2": [BYTES],
    "smollm": [DIGITS, BYTES],
}
"""llama.cpp's name for each rule; trim_offsets moves no token."""


def write_tokenizer(
    writer: GGUFWriter, folder: Path, tokenizer: PreTrainedTokenizerBase, rows: int
) -> None:
    """Add the tokenizer's keys. rows: of the embedding; ids without a token are filled up.

    Raises EngineError naming the part of tokenizer.json that llama.cpp does not have.
    """
    from gguf import TokenType

    path = folder / TOKENIZER_FILE
    document = _document(path)
    model = document["model"]
    tokens = {number: token for token, number in model["vocab"].items()}
    added = {one["id"]: one for one in document.get("added_tokens") or []}
    tokens |= {number: one["content"] for number, one in added.items()}
    if max(tokens) >= rows:
        raise EngineError(
            tr(
                "{path} numbers its tokens up to {tokens}, and the embedding has {rows} rows.",
                path=path,
                tokens=max(tokens),
                rows=rows,
            ),
            tr("Get the model's files from their source again."),
        )

    def kind(number: int) -> TokenType:
        if number not in tokens:
            return TokenType.UNUSED
        if number not in added:
            return TokenType.NORMAL
        return TokenType.CONTROL if added[number]["special"] else TokenType.USER_DEFINED

    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(path, document.get("pre_tokenizer")))
    writer.add_token_list([tokens.get(number, f"[PAD{number}]") for number in range(rows)])
    writer.add_token_types([kind(number) for number in range(rows)])
    writer.add_token_merges([_merge(pair) for pair in model["merges"]])
    _write_special(writer, folder, tokenizer)
    writer.add_chat_template(chat_template_of(tokenizer).source)


def _document(path: Path) -> dict[str, Any]:
    """tokenizer.json, where llama.cpp's byte-level BPE does all that it asks for."""
    if not path.is_file():
        raise EngineError(tr("There is no {path}.", path=path), tr(USE_THE_CONVERTER))
    document = read_json_object(path, MAX_BYTES)
    model = document.get("model") or {}
    asked = {
        tr("a model other than BPE"): model.get("type") != "BPE",
        "byte_fallback": model.get("byte_fallback"),
        "ignore_merges": model.get("ignore_merges"),
        tr("a dropout"): model.get("dropout"),
        tr("a prefix or suffix of subwords"): model.get("continuing_subword_prefix")
        or model.get("end_of_word_suffix"),
        tr("a normalizer"): document.get("normalizer"),
    }
    wrong = [what for what, holds in asked.items() if holds]
    if wrong:
        raise EngineError(
            tr(
                "{path} has {wrong}; only a plain byte-level BPE is converted here.",
                path=path,
                wrong=", ".join(wrong),
            ),
            tr(USE_THE_CONVERTER),
        )
    return document


def _pre_tokenizer(path: Path, rule: Any) -> str:
    rule = rule or {}
    parts = rule.get("pretokenizers") if rule.get("type") == "Sequence" else [rule]
    plain = [{key: v for key, v in part.items() if key != "trim_offsets"} for part in parts]
    for name, known in PRE_TOKENIZERS.items():
        if plain == known:
            return name
    raise EngineError(
        tr(
            "{path} splits texts by {plain}; which of llama.cpp's rules that is, is not "
            "known here.",
            path=path,
            plain=", ".join(str(one.get("type")) for one in plain),
        ),
        tr(USE_THE_CONVERTER),
    )


def _merge(pair: str | list[str]) -> str:
    return pair if isinstance(pair, str) else " ".join(pair)


def _write_special(writer: GGUFWriter, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """The ids of special tokens, and which of them a plain text gets."""
    path = folder / "generation_config.json"
    config = read_json_object(path) if path.is_file() else {}
    ends = stop_tokens(tokenizer, SimpleNamespace(eos_token_id=config.get("eos_token_id")))
    others = sorted(ends - {tokenizer.eos_token_id})
    for number, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
        (others[0] if others else None, writer.add_eot_token_id),
    ):
        if number is not None:
            add(number)
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(ids[:1] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(ids[-1:] == [tokenizer.eos_token_id])
