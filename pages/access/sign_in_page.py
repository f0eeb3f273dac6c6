"""The page where somebody signs in, as HTML that needs no script and no Gradio."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

from lora_engine.access import PasswordWay, ProxyWay, TokenWay, Way
from lora_engine.language import LANGUAGES, language, tr
from pages.shared import static_files
from pages.shared.languages import CODES, in_language, prefix_of

SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
STYLES = ("shared/rankscope.css", "shared/not_found.css", "access/sign_in.css")


def open_addresses() -> frozenset[str]:
    """What the page needs, which nobody has to sign in for."""
    return frozenset({"/favicon.ico", *(static_files.address(name) for name in STYLES)})


def sign_in_html(way: Way, problem: str, name: str, then: str) -> str:
    """The page in the present language.

    problem: why the last try failed, or "". name: what was typed there. then: where it leads.
    """
    title = tr("Sign in")
    others = "".join(
        f'<a class="rs-language" href="{prefix_of(other)}{SIGN_IN}?{urlencode({"then": then})}" '
        f'hreflang="{CODES[other]}" lang="{CODES[other]}">{words}</a>'
        for other, words in LANGUAGES.items()
        if other != language()
    )
    styles = "".join(
        f'<link rel="stylesheet" href="{static_files.address(sheet)}">' for sheet in STYLES
    )
    alert = f'<div class="rs-sign-in-problem" role="alert"><p>{escape(problem)}</p></div>'
    return f"""<!doctype html>
<html lang="{CODES[language()]}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)} · Rankscope</title>
<link rel="icon" type="image/svg+xml" href="/favicon.ico">
{styles}
<script>
document.documentElement.classList.toggle(
  "dark", matchMedia("(prefers-color-scheme: dark)").matches);
</script>
</head>
<body>
<div class="gradio-container">
<div class="nav-holder"><nav class="fillable"></nav></div>
<main class="app fillable rs-sign-in">
<div class="rs-header"><h1>{escape(title)}</h1><p>{escape(_purpose(way))}</p>{others}</div>
{alert if problem else ""}
{_form(way, name, then)}
</main>
</div>
</body>
</html>
"""


def _purpose(way: Way) -> str:
    if isinstance(way, PasswordWay):
        return tr("This dashboard is for people with a name and a password here.")
    if isinstance(way, TokenWay) and way.is_made:
        return tr(
            "This dashboard is for whoever has its link. The link with the token stands where "
            "Rankscope was started: in the terminal, or in Docker's log."
        )
    if isinstance(way, TokenWay):
        return tr("This dashboard is for whoever has its token, the one set as LORA_TOKEN.")
    return tr("This dashboard is reached through its proxy, which asks who you are.")


def _form(way: Way, name: str, then: str) -> str:
    if isinstance(way, ProxyWay):
        return ""
    if isinstance(way, TokenWay):
        fields = _field("token", tr("Access token"), "password", "off", "", True)
    else:
        fields = _field("name", tr("Name"), "text", "username", name, not name)
        fields += _field("password", tr("Password"), "password", "current-password", "", bool(name))
    return (
        f'<form method="post" action="{in_language(SIGN_IN)}">{fields}'
        f'<input type="hidden" name="then" value="{escape(then)}">'
        f'<button class="rs-button" type="submit">{escape(tr("Sign in"))}</button></form>'
    )


def _field(name: str, label: str, kind: str, autocomplete: str, value: str, is_first: bool) -> str:
    return (
        f'<label>{escape(label)}<input name="{name}" type="{kind}" value="{escape(value)}" '
        f'autocomplete="{autocomplete}" autocapitalize="none" spellcheck="false" '
        f'maxlength="1000" required{" autofocus" if is_first else ""}></label>'
    )
