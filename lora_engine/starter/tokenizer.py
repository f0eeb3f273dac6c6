"""The starter's tokenizer: byte-level BPE with single digits, and its chat template.

Byte-level means that every text can be encoded and decoded exactly, so there is no unknown token.
Conversations look like `<|bos|><|user|>Hello.<|end|><|assistant|>Hello!<|end|>`; `<|end|>` ends a
message and is the end-of-sequence token.
"""

from collections.abc import Iterable, Sequence

VOCABULARY_SIZE = 2048
BOS, END, PAD = "<|bos|>", "<|end|>", "<|pad|>"
ROLE_TOKENS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL_TOKENS = (PAD, BOS, END, *ROLE_TOKENS.values())
MAX_LENGTH = 1024

# One line: whitespace between tags would become part of the prompt.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<|system|>' + message['content'] + eos_token }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>' + message['content'] + eos_token }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' }}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ raise_exception('The roles are system, user and assistant, not '"
    " + message['role']) }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str]):
    """A `PreTrainedTokenizerFast` whose merges are learned from `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Single digits: a number is read place by place, which is what adding needs.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLE_TOKENS.values()),
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def encode_rows(
    tokenizer, rows: Sequence[list[dict[str, str]]]
) -> list[tuple[list[int], list[bool]]]:
    """Token ids of each conversation and which of them the assistant wrote (with `<|end|>`).

    The same as `apply_chat_template(..., return_assistant_tokens_mask=True)`, a hundred times
    faster, because all messages are encoded in one call; a test holds the two together.
    """
    contents = [message["content"] for row in rows for message in row]
    encoded = iter(tokenizer(contents, add_special_tokens=False)["input_ids"])
    role_ids = {role: tokenizer.convert_tokens_to_ids(t) for role, t in ROLE_TOKENS.items()}
    results = []
    for row in rows:
        ids, written = [tokenizer.bos_token_id], [False]
        for message in row:
            content = [*next(encoded), tokenizer.eos_token_id]
            ids += [role_ids[message["role"]], *content]
            written += [False] + [message["role"] == "assistant"] * len(content)
        results.append((ids, written))
    return results
