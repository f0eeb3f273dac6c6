"""What columns think of given texts, and whether answers are right. Generates nothing.

log_probabilities  ln p of a text's tokens under every column, from one batch
token_comparison   an answer token by token; strength curve; layers switched off
held_out_loss      loss on held-out rows, paired with the base's, with an interval
forgetting         a word for what an adapter forgot, from such an interval
column_proof       proof that the base column is the base and the adapters are not
answer_checks      exact match, contains, JSON, regular expression
set_report         the answers of a prompt set with their checks
word_diff          where two answers differ, word by word
"""

from lora_engine.compare.scoring.answer_checks import Check, passes
from lora_engine.compare.scoring.column_proof import ColumnProof, IntegrityProof, prove_columns
from lora_engine.compare.scoring.forgetting import (
    FORGOTTEN_NATS,
    KEPT_NATS,
    Forgetting,
    classify_forgetting,
    general_rows_for,
)
from lora_engine.compare.scoring.held_out_loss import (
    PairedDifference,
    RowLoss,
    paired_difference,
    row_losses,
)
from lora_engine.compare.scoring.set_report import ReportRow, as_jsonl, check_answers
from lora_engine.compare.scoring.token_comparison import (
    Alternative,
    CurvePoint,
    LayersOffScores,
    TokenComparison,
    TokenDetail,
    compare_tokens,
    layer_contributions,
    score_without_layers,
    strength_curve,
)
from lora_engine.compare.scoring.word_diff import Piece, diff_words

__all__ = [
    "FORGOTTEN_NATS",
    "KEPT_NATS",
    "Alternative",
    "Check",
    "ColumnProof",
    "CurvePoint",
    "Forgetting",
    "IntegrityProof",
    "LayersOffScores",
    "PairedDifference",
    "Piece",
    "ReportRow",
    "RowLoss",
    "TokenComparison",
    "TokenDetail",
    "as_jsonl",
    "check_answers",
    "classify_forgetting",
    "compare_tokens",
    "diff_words",
    "general_rows_for",
    "layer_contributions",
    "paired_difference",
    "passes",
    "prove_columns",
    "row_losses",
    "score_without_layers",
    "strength_curve",
]
