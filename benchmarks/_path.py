"""Imported first by every benchmark, so that `python benchmarks/NAME.py` finds the project."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
