"""`make audit` never calls it sound where nothing was looked up."""

from __future__ import annotations

from tests.audit_packages import told

SOUND = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "torch", "skip_reason": "not found on PyPI"}


def test_the_exit_code_tells_sound_weak_and_not_audited_apart(capsys):
    assert [told([SOUND, UNKNOWN]), told([SOUND, WEAK]), told([UNKNOWN]), told([])] == [0, 1, 2, 2]
    said = capsys.readouterr().out
    assert "b 2: PYSEC-1, mended in 3" in said
    assert "torch" in said
