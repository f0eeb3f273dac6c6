"""Saved comparisons, reopened by their id and exported.

session.py         what a session holds, bounded
session_store.py   the files: save, load, drop the oldest
markdown.py        a session as a document to read
"""

from lora_engine.compare.sessions.markdown import as_markdown
from lora_engine.compare.sessions.session import (
    Session,
    SessionColumn,
    SessionMessage,
    SessionServer,
)
from lora_engine.compare.sessions.session_store import SessionRevision, SessionStore

__all__ = [
    "Session",
    "SessionColumn",
    "SessionMessage",
    "SessionRevision",
    "SessionServer",
    "SessionStore",
    "as_markdown",
]
