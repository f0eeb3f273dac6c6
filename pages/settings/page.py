"""The settings as plain HTML, in the present language and for the person who acts.

Everybody sees what is used. How the dashboard is set and where things lie is for whoever manages;
secrets are for nobody. Reads and changes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from html import escape

from pydantic import SecretStr

from lora_engine.access import person_now
from lora_engine.doctor import versions
from lora_engine.language import tr, translatable
from lora_engine.settings import Settings, environment_names
from lora_engine.usage import Usage, places, quotas_used
from pages import Page
from pages.shared.plain_page import plain_page_html

SETTINGS = Page(
    translatable("Settings"),
    "/settings",
    translatable("What is used here, how it is set, and where it lies."),
)
STYLES = ("settings/settings.css",)
NO_BREAK = "\N{NO-BREAK SPACE}"  # between a number and its unit
COMMAND = re.compile("`([^`]+)`")


def settings_html(settings: Settings, more: Sequence[Usage] = ()) -> str:
    """more: what is used of what this process alone knows of."""
    parts = [_used_html([*quotas_used(settings), *more])]
    if person_now().may("manage"):
        parts += [_variables_html(settings), _places_html(settings)]
    else:
        words = tr("Settings and where things lie are shown to whoever manages this dashboard.")
        parts.append(f'<p class="rs-note">{escape(words)}</p>')
    parts.append(_versions_html())
    return plain_page_html(
        tr(SETTINGS.title), tr(SETTINGS.purpose), "".join(parts), "rs-settings-page", STYLES,
        SETTINGS.path,
    )  # fmt: skip


def _used_html(used: Sequence[Usage]) -> str:
    tiles = "".join(
        f'<div class="rs-tile{" rs-full" if one.is_full else ""}"><dt>{escape(one.title)}</dt>'
        f"<dd>{escape(_amount(one))}</dd>"
        f'<dd class="rs-small-note"><code>{escape(one.variable)}</code></dd></div>'
        for one in used
    )
    return _section(tr("What is used"), f'<dl class="rs-tiles">{tiles}</dl>')


def _amount(one: Usage) -> str:
    if one.problem:
        return tr("It cannot be read: {problem}", problem=one.problem)
    used, most = (text.replace(" ", NO_BREAK) for text in (one.used, one.most))
    return tr("{used} of {most}", used=used, most=most)


def _variables_html(settings: Settings) -> str:
    rows = [
        (variable, _value(settings, name), tr(Settings.model_fields[name].description or ""))
        for name, variable in environment_names().items()
    ]
    token = tr("a secret, not shown") if os.environ.get("HF_TOKEN") else ""
    rows.append(("HF_TOKEN", token, tr("Token of the model hub, for private models and sets.")))
    listed = "".join(
        f"<div><dt><code>{escape(variable)}</code></dt>"
        f"<dd>{f'<b>{escape(value)}</b>' if value else escape(tr('not set'))}</dd>"
        f"<dd>{_words_html(words)}</dd></div>"
        for variable, value, words in rows
    )
    words = tr("Set a variable before Rankscope is started; a change holds from the next start on.")
    return _section(
        tr("Environment variables"), f'<p>{escape(words)}</p><dl class="rs-listed">{listed}</dl>'
    )


def _words_html(words: str) -> str:
    """Escaped, what stands between backticks as code."""
    return COMMAND.sub(r"<code>\1</code>", escape(words))


def _value(settings: Settings, name: str) -> str:
    """The value as it is written in the environment; "" for none."""
    value = getattr(settings, name)
    if isinstance(value, SecretStr):
        return tr("a secret, not shown")
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value)
    return "" if value is None else str(value)


def _places_html(settings: Settings) -> str:
    listed = "".join(
        f"<div><dt>{escape(title)}</dt><dd><code>{escape(str(path))}</code></dd></div>"
        for title, path in places(settings)
    )
    disk = shutil.disk_usage(settings.data_dir)
    words = tr(
        "{size} free of {total} on the disk of the data folder.",
        size=f"{disk.free / 1e9:,.1f} GB",
        total=f"{disk.total / 1e9:,.1f} GB",
    )
    return _section(
        tr("Where things lie"), f'<p>{escape(words)}</p><dl class="rs-listed">{listed}</dl>'
    )


def _versions_html() -> str:
    listed = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(version or tr('not installed'))}</dd></div>"
        for name, version in versions()
    )
    return _section(tr("Versions"), f'<dl class="rs-listed rs-versions">{listed}</dl>')


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"
