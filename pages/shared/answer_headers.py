"""The safety headers of every answer. They keep a browser talking to this server only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# 'unsafe-inline' and 'unsafe-eval': Gradio's page has inline scripts, and gr.HTML compiles its
# template and its script with Function. What they load and where they connect stays here.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
ANSWER_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" a browser hides the Origin of our own forms too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def answer_headers(frame_ancestors: Sequence[str] = ()) -> Mapping[str, str]:
    """The safety headers; sites that may frame the dashboard are named, else none may."""
    if not frame_ancestors:
        return ANSWER_HEADERS
    named = f"frame-ancestors {' '.join(frame_ancestors)}"
    policy = CONTENT_SECURITY_POLICY.replace("frame-ancestors 'none'", named)
    kept = {name: value for name, value in ANSWER_HEADERS.items() if name != "X-Frame-Options"}
    return {**kept, "Content-Security-Policy": policy}
