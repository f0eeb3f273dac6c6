"""The bundled starter model, its datasets and its adapter: where they lie and what they are.

Importing this loads no torch. The model is an ordinary transformers folder (`MODEL_DIR`); the
datasets are JSON Lines, the held-out rows in files of their own. All of it is made by
`python -m lora_engine.starter.build`.

    world       the facts as tables
    facts       what a fact is, which questions are held out
    words, animals, places, language, things, numbers, talk    tables -> questions and answers
    phrases     what people say in conversation, as a table
    corpus      questions and answers -> training conversations
    pirate      an answer in pirate speech
    manners     an answer said politely and rudely
    chinese     questions and answers in Chinese
    velmora     the made-up land of the facts dataset
    datasets    the datasets
    tokenizer   the byte-level BPE tokenizer and its chat template
    entities    sentences with tagged persons, places, animals and jobs
    build_encoder  the script that makes the encoder for classifiers (`ENCODER_DIR`)
    build_adapter  the script that makes the adapter (in `ADAPTERS_DIR`)
    build       the script: corpus, tokenizer, training, evaluation, saving
    checks      is this pirate speech, is this JSON, is the meaning kept
"""

from pathlib import Path

from lora_engine.errors import NotFound
from lora_engine.language import tr, translatable

_HERE = Path(__file__).resolve().parent

MODEL_DIR = _HERE / "model"
ENCODER_DIR = _HERE / "encoder"
ADAPTERS_DIR = _HERE / "adapters"
DATASETS_DIR = _HERE / "datasets"
DATASET_NAMES = ("pirate", "json", "facts", "polite", "sums", "entities", "chinese")
DATASET_DESCRIPTIONS = {
    "pirate": translatable("The same answers in pirate speech: a change of style (chat messages)."),
    "json": translatable(
        "Every answer as a JSON object: a change of form (instruction, input, output)."
    ),
    "polite": translatable(
        "Polite answers against rude ones: preferences (prompt, chosen, rejected)."
    ),
    "facts": translatable("The made-up land of Velmora: new knowledge (prompt, completion)."),
    "sums": translatable(
        "Sums asked in words that the starter does not know, each with its number: for rewards "
        "by rules (prompt, completion)."
    ),
    "entities": translatable(
        "Persons, places, animals and jobs in sentences: for an encoder (tokens, tags)."
    ),
    "chinese": translatable(
        "Short questions in Chinese, for a base that knows Chinese; to the starter its "
        "characters all look alike (instruction, input, output)."
    ),
}


def dataset_path(name: str) -> Path:
    """The training rows of a starter dataset. Raises NotFound for a name that is not one."""
    return _dataset_file(name, ".jsonl")


def heldout_path(name: str) -> Path:
    """The held-out rows of a starter dataset. Raises NotFound for a name that is not one."""
    return _dataset_file(name, ".heldout.jsonl")


def _dataset_file(name: str, ending: str) -> Path:
    if name not in DATASET_NAMES:
        raise NotFound(
            tr("There is no starter dataset named {name}.", name=f"{name!r}"),
            tr("Choose one of: {dataset_names}.", dataset_names=", ".join(DATASET_NAMES)),
        )
    return DATASETS_DIR / f"{name}{ending}"
