"""Cells of a CSV file that a spreadsheet would run: for the engine's writer and for the pages'."""

RUN_BY_A_SPREADSHEET = (
    "=1+1", "+1", "-1", "@x", "\n=1", "\t=1", "\r=1", "  =1", "\ufeff=1", "\u200b@x", "＝1", "\tx",
)  # fmt: skip
