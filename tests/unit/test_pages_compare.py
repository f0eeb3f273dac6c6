"""What the compare page writes: every text of a model escaped, every word as it was measured."""

import re

from lora_engine.compare.scoring.column_proof import ColumnProof, IntegrityProof
from lora_engine.compare.scoring.token_comparison import Alternative, TokenComparison, TokenDetail
from pages.compare.answer_analysis_html import tokens_html
from pages.compare.column_warnings import mismatch_badges, proof_badge
from pages.compare.saved_session import next_steps_html

EVIL = '"><img src=x onerror=alert(1)>'


def title(name: str) -> str:
    return EVIL if name == "a" else "Base"


def comparison(text: str) -> TokenComparison:
    options = {name: (Alternative(text, 0.5),) for name in ("base", "a")}
    token = TokenDetail(text, {"base": -2.0, "a": -1.0}, options, {"a": 0.25})
    return TokenComparison((token,), {"base": 7.4, "a": 2.7}, {"a": 0})


def proof(
    base_difference: float, adapter_difference: float, trained_template: str | None = None
) -> IntegrityProof:
    return IntegrityProof(
        base=ColumnProof("base", base_difference, None),
        adapters=(ColumnProof("a", adapter_difference, "f" * 64, trained_template),),
        base_is_base=base_difference <= 0.01,
        adapters_differ=adapter_difference > 0.01,
        tolerance=0.01,
        largest_logit=10.0,
        prompt_tokens=5,
        base_fingerprint="0123456789abcdef",
        template_hash="fedcba9876543210",
    )


def test_a_models_text_never_becomes_markup():
    shown = tokens_html(comparison(EVIL), "a", title)
    assert "<img" not in shown
    assert "&lt;img" in shown
    assert "<img" not in proof_badge(proof(0.0, 1.0), title)


def test_an_answer_leads_on_with_each_adapter():
    steps = next_steps_html(["a"], {"a": EVIL})
    assert "<img" not in steps
    assert [*re.findall('href="([^"]+)"', steps)] == [
        "/spectrum?adapter=a",
        "/adapters?adapter=a&amp;tab=resize",
        "/adapters?adapter=a&amp;tab=take-away",
    ]


def test_a_raised_token_is_coloured_up_and_the_parting_named():
    shown = tokens_html(comparison("blue"), "a", title)
    assert 'class="rs-up" style="--share:25%"' in shown
    assert "first part at token 1" in shown


def test_the_badge_says_loudly_when_the_base_is_not_the_base():
    assert "rs-badge-good" in proof_badge(proof(0.0, 1.0), title)
    wrong = proof_badge(proof(2.0, 1.0), title)
    assert "rs-badge-bad" in wrong
    assert "NOT the bare base model" in wrong
    assert "changes nothing" in proof_badge(proof(0.0, 0.0), title)


def test_the_badge_is_red_and_names_both_hashes_where_the_template_is_another():
    wrong = proof_badge(proof(0.0, 1.0, "00000000ffffffff"), title)
    assert "rs-badge-bad" in wrong
    assert "ANOTHER chat template: 00000000" in wrong
    assert "template fedcba98" in wrong
    assert "rs-badge-good" in proof_badge(proof(0.0, 1.0, "fedcba9876543210"), title)
    assert "<img" not in mismatch_badges({EVIL: EVIL})
