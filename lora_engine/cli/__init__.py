"""The command line: `python -m lora_engine COMMAND`.

`--json` prints exactly one JSON document on standard output; everything else goes to standard
error. Exit 0: done; 2: an error for the person; 1: a bug.
"""
