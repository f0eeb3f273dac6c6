"""Saved comparisons, reopened by their id and exported.

session.py         what a session holds, bounded
session_store.py   the files: save, load, drop the oldest
markdown.py        a session as a document to read
"""
