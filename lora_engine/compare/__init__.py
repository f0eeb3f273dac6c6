"""Compare a base model with its adapters: one base in memory, all columns from one batch.

prompts/    from a person's text, a file or an adapter's own data to token ids
generate/   the base with its adapters injected, and every column's answer from one batch
scoring/    what columns think of given texts, losses, checks of answers, proof of the columns
votes/      blind votes on pairs of answers, and what follows from them
sessions/   comparisons kept as files, to open again
service.py  what the engine's façade offers: models kept in memory, checks before loading

A room imports only those above it in this list (a contract in pyproject.toml). Importing any of it
loads no torch, transformers or peft.
"""
