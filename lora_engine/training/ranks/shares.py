"""Which rows of a step each process takes. Pure: knows no process and no model.

The rows of a step are those that the plan names, whatever the number of processes; each process
takes a part of every batch, so that its passes are smaller and not fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lora_engine.data import TokenizedRow
from lora_engine.data.tokenization import IGNORED
from lora_engine.training.ranks.ranks import Ranks


def own_share(
    batches: Iterable[Sequence[TokenizedRow]], ranks: Ranks, divides: bool = True
) -> list[list[TokenizedRow]]:
    """The rows of each of a process's own passes.

    divides: a batch may be cut; else whole batches are dealt out. In lockstep every process gets as
    many passes as every other: one without rows gets some tokens that have no loss.
    """
    whole = [list(batch) for batch in batches]
    if ranks.count == 1:
        return whole
    share = dealt(whole, ranks.count, divides)[ranks.rank]
    if not ranks.is_lockstep:
        return [rows for rows in share if rows]
    return [rows or [_filler(batch[0])] for rows, batch in zip(share, whole, strict=True)]


def dealt(
    batches: Sequence[Sequence[TokenizedRow]], count: int, divides: bool = True
) -> list[list[list[TokenizedRow]]]:
    """For each of `count` processes, its rows of each batch; a process may get none of one.

    Every row goes to the process that has the fewest tokens so far, the longest row of a batch
    first.
    """
    tokens = [0] * count
    shares: list[list[list[TokenizedRow]]] = [[] for _ in range(count)]
    for batch in batches:
        pieces = [[row] for row in batch] if divides else [list(batch)]
        taken: list[list[int]] = [[] for _ in range(count)]
        for place in sorted(range(len(pieces)), key=lambda at: -_length(pieces[at])):
            least = tokens.index(min(tokens))
            tokens[least] += _length(pieces[place])
            taken[least].append(place)
        for share, places in zip(shares, taken, strict=True):
            share.append([row for place in sorted(places) for row in pieces[place]])
    return shares


def _length(rows: Sequence[TokenizedRow]) -> int:
    return sum(len(row.input_ids) for row in rows)


def _filler(row: TokenizedRow) -> TokenizedRow:
    ids = row.input_ids[:2]
    return replace(row, input_ids=ids, labels=(IGNORED,) * len(ids))
