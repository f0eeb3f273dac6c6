"""The data check: what is wrong with a dataset, row by row, and the set without these rows.

findings      the kinds of findings: what each is called, how bad it is, what to do
single_rows   what is wrong with one row, seen by itself
across_rows   what is wrong between rows: repeats, contradictions, one answer everywhere
row_tokens    what a row loses at the token limit of a run
check         all of it over one dataset, in one pass
cleaned       the set without the rows of chosen findings, as a file
"""

from lora_engine.data.checks.check import DataCheck, check_dataset
from lora_engine.data.checks.cleaned import CleanedSet, save_cleaned, write_cleaned
from lora_engine.data.checks.findings import Finding, FindingKind, Severity, kinds_named

__all__ = [
    "CleanedSet",
    "DataCheck",
    "Finding",
    "FindingKind",
    "Severity",
    "check_dataset",
    "kinds_named",
    "save_cleaned",
    "write_cleaned",
]
