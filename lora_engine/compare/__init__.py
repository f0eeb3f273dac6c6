"""Compare a base model with its adapters: one base in memory, all columns from one batch.

sampling.py   how the next token is chosen, the same for every column
cache.py      a key-value cache that grows in place
use.py        how a column uses its adapter: strength, layers switched off
mixed.py      several PEFT adapters on one base, each on its own rows of the batch
decode.py     the decode loop over one batch of rows
prompts.py    messages to token ids, with the checks that a prompt needs
shared.py     the base model in memory, with the adapters beside it
model.py      ComparisonModel: named columns over a shared base; streamed answers
progress.py   what a person sees of answers in the making
pool.py       keeps the last base loaded between callers
prompt_set.py many prompts at once (`compare_prompts`)
scoring.py    log-probabilities of a given text under every column
tokens.py     an answer token by token; strength curve; layers switched off
heldout.py    loss on held-out rows, paired, with an interval
checks.py     exact match, contains, JSON, regular expression
integrity.py  proof that the base column is the base
"""
