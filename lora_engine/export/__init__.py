"""An adapter taken away: the forms that other programs read, each with its proof.

portable    the same update from `r` and `lora_alpha` alone
load_rules  where an adapter loads: each program's rule with its source and date
"""

from lora_engine.export.load_rules import LoadRule, where_it_loads
from lora_engine.export.portable import PortableReport, portable

__all__ = ["LoadRule", "PortableReport", "portable", "where_it_loads"]
