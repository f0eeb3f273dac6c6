"""Regular expressions in a spec: compiled once to see that they are sound. Runs none on a row."""

from __future__ import annotations

from lora_engine.language import tr


def sound_pattern(pattern: str) -> str:
    """The pattern. Raises ValueError for one that does not compile."""
    import regex  # as `re`, with a limit of time

    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(
            tr("no sound regular expression ({error})", error=str(error)[:100])
        ) from None
    return pattern
