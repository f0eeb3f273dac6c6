"""One run in words: heading, what went wrong, figures, what to do next; all escaped here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from lora_engine.engine import Engine
from lora_engine.run_folder import MemoryShortage, MetricsRow
from lora_engine.runs import RunState, RunView
from lora_engine.training import describe_loss_curve
from pages import ADAPTERS, COMPARE, RUNS, SPECTRUM, TRAIN
from pages.shared import layout

INTERRUPTED = (
    "The worker ended without a word: it was killed (perhaps for want of memory), or the machine "
    "went down. Its metrics are kept; resume goes on from the newest checkpoint."
)
NOTHING_YET = {
    RunState.RUNNING: "Starting: loading the model and the rows.",
    RunState.PAUSING: "Stopping before the first step.",
    RunState.CANCELLING: "Stopping before the first step.",
}
STOPPING = {
    RunState.PAUSING: "Finishing its step and saving a checkpoint.",
    RunState.CANCELLING: "Finishing its step, then stopping.",
}


def heading(engine: Engine, view: RunView) -> str:
    """Name and state, how far it is, the error if there is one, and where to go next."""
    parts = [_title(view), _start(view), _progress(engine, view), *_troubles(engine, view)]
    return "".join([*parts, _links(engine, view)])


def empty() -> str:
    return layout.empty_state_html(
        "No run yet", "The pirate example trains a small adapter in about a minute."
    )


def facts(engine: Engine, view: RunView) -> str:
    """The strip of figures beneath the curve, and the verdict in words."""
    newest, result = view.newest, view.result
    if newest is None:
        return ""
    found = [("Loss", layout.number(newest.loss))]
    if result is not None and result.start_eval_loss is not None:
        found.append(("Evaluation loss at the start", layout.number(result.start_eval_loss)))
    if result is not None and result.eval_loss is not None:
        found.append(("Evaluation loss", layout.number(result.eval_loss)))
    by_set = (result.eval_loss_by_set or {}) if result is not None else {}
    found += [(f"… of {escape(name)}", layout.number(loss)) for name, loss in by_set.items()]
    rows = engine.runs.curve(view.id)
    found += [*_scores(rows), *_rewards(rows)]
    speed = result.tokens_per_s if result is not None else newest.tokens_per_s
    memory = result.peak_memory_bytes if result is not None else newest.memory_bytes
    found += [
        ("Tokens a second", layout.number(speed)),
        ("Tokens read", layout.count(newest.tokens)),
        ("Time in training", layout.duration(newest.elapsed_s)),
        ("Peak memory" if result is not None else "Memory", layout.byte_size(memory)),
        ("Learning rate", layout.number(newest.learning_rate)),
        ("Gradient norm", layout.number(newest.grad_norm)),
        ("Device", escape(view.record.device or "–")),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in found)
    words = describe_loss_curve(rows)
    return f'<dl class="rs-facts">{cells}</dl><p class="rs-verdict">{escape(words)}</p>'


def _scores(rows: Sequence[MetricsRow]) -> list[tuple[str, str]]:
    """A classifier's newest accuracy and F1, while it runs too; nothing for other runs."""
    newest = next((row for row in reversed(rows) if row.eval_accuracy is not None), None)
    if newest is None:
        return []
    found = (("Accuracy", newest.eval_accuracy), ("F1", newest.eval_f1))
    return [(name, layout.number(value)) for name, value in found if value is not None]


def _rewards(rows: Sequence[MetricsRow]) -> list[tuple[str, str]]:
    """The newest rewards of a run that learns from them; nothing for other runs."""
    sampled = [row.reward for row in rows if row.reward is not None]
    held_out = [row.eval_reward for row in rows if row.eval_reward is not None]
    found = (("Reward", sampled), ("Reward, held out", held_out))
    return [(name, layout.number(values[-1])) for name, values in found if values]


def _title(view: RunView) -> str:
    record, state = view.record, view.record.state
    tags = "".join(f'<span class="rs-tag">{escape(tag)}</span>' for tag in record.tags)
    note = f'<p class="rs-run-note">{escape(record.note)}</p>' if record.note else ""
    return (
        f"<h2>{escape(record.name)} "
        f'<span class="rs-state rs-state-{state}" role="status">{state}</span></h2>'
        + (f'<p class="rs-tags">{tags}</p>' if tags else "")
        + note
    )


def _start(view: RunView) -> str:
    """The run or the adapter that this one goes on from; nothing for a run from scratch."""
    spec = view.record.spec
    if spec is not None and spec.extended_from is not None:
        before = spec.extended_from
        link = f'<a href="{escape(layout.link(RUNS, run=before.run))}">{escape(before.run)}</a>'
        return f"<p>Goes on from run {link} after its step {before.step:,}, optimizer and all.</p>"
    if spec is not None and spec.method.init_from is not None:
        return f"<p>Starts from the adapter {escape(spec.method.init_from)}.</p>"
    return ""


def _progress(engine: Engine, view: RunView) -> str:
    state = view.record.state
    if state is RunState.QUEUED:
        return f"<p>{_place(engine.runs.queue(), view.id)}</p>"
    if view.newest is None:
        words = NOTHING_YET.get(state, "")
        return f"<p>{words}</p>" if words else ""
    done, total = view.newest.step, view.newest.total_steps
    left = "" if view.seconds_left is None else f", about {layout.duration(view.seconds_left)} left"
    stopping = f" {STOPPING[state]}" if state in STOPPING else ""
    return (
        f'<progress max="{total}" value="{done}" aria-label="Steps done"></progress>'
        f"<p>Step {done:,} of {total:,}{left}.{stopping}</p>"
    )


def _place(queue: list[str], run_id: str) -> str:
    place = queue.index(run_id) if run_id in queue else 0
    before = {0: "It is next", 1: "One other run waits before it"}.get(
        place, f"{place} other runs wait before it"
    )
    return f"Waiting for a device to be free. {before}."


def _troubles(engine: Engine, view: RunView) -> list[str]:
    found = []
    if view.problem is not None:
        found.append(f"<strong>This run cannot be read whole:</strong> {escape(view.problem)}")
    if view.result is not None and view.result.error is not None:
        error = view.result.error
        found.append(f"<strong>{escape(error.problem)}</strong> {escape(error.remedy)}")
        if error.out_of_memory is not None:
            found.append(_shortage(view.id, error.out_of_memory))
    if view.record.state is RunState.INTERRUPTED:
        found.append(INTERRUPTED)
    stall = engine.runs.stall(view.id)
    if stall is not None and stall.is_stopped:
        found.append(
            "<strong>The worker does not answer:</strong> its process was stopped from outside "
            "(SIGSTOP). It goes on when it is sent SIGCONT; cancel ends it."
        )
    elif stall is not None:
        found.append(
            f"<strong>No step for {layout.duration(stall.seconds)}.</strong> The worker is "
            "alive: a long evaluation or a slow disk can take this long. If nothing comes, "
            "cancel it and resume."
        )
    return [f'<p class="rs-run-error">{text}</p>' for text in found]


def _shortage(run_id: str, short: MemoryShortage) -> str:
    """What was expected and measured, and the nearest change as a button."""

    def size(of: int | None) -> str:
        return "unknown" if of is None else layout.byte_size(of)

    text = (
        f"Expected: {size(short.estimate_bytes)}; measured peak: {size(short.peak_bytes)}; "
        f"there was: {size(short.available_bytes)}. "
    )
    if not short.changes:
        return text + "No change known here makes it fit; take a smaller base model."
    fields = {
        path: json.dumps(value) for change in short.changes for path, value in change.fields.items()
    }
    what = " and ".join(change.what for change in short.changes)
    harm = "; ".join(dict.fromkeys(change.harm for change in short.changes))
    address = layout.link(TRAIN, **{"from": run_id, **fields})
    return f"{text}What fits: {escape(what)} ({escape(harm)}). " + button(
        (address, f"Train with {what}")
    )


def _links(engine: Engine, view: RunView) -> str:
    links = [(layout.link(TRAIN, **{"from": view.id}), "Train again with changes")]
    whole = engine.runs.directory(view.id).path / "model"
    if view.record.state is RunState.FINISHED and not whole.is_dir():
        spec = view.record.spec
        if spec is not None and not spec.method.is_lora:  # it has no factors to show or to cut
            links = [(layout.link(ADAPTERS, adapter=view.id), "See its adapter"), *links]
        else:
            links = [
                (layout.link(SPECTRUM, adapter=view.id), "See its spectrum"),
                (layout.link(ADAPTERS, adapter=view.id, tab="resize"), "Resize"),
                *links,
                (_go_on(view), "Go on from its adapter"),
                (layout.link(ADAPTERS, adapter=view.id, tab="take-away"), "Take away"),
            ]
        if spec is not None:
            answers = spec.task == "causal_lm"
            what = "Compare with the base" if answers else "Try it out"
            links = [(layout.link(COMPARE, adapter=view.id), what), *links]
    words = ""
    if whole.is_dir():
        words = (
            f"<p>The whole model is in <code>{escape(str(whole))}</code>; "
            "give that folder as a base model.</p>"
        )
    return words + '<p class="rs-next">' + " ".join(map(button, links)) + "</p>"


def _go_on(view: RunView) -> str:
    """The train page with this run's spec, starting from its adapter."""
    return layout.link(TRAIN, **{"from": view.id, "init_from": view.id})


def button(link: tuple[str, str]) -> str:
    """A link that looks like a button."""
    address, text = link
    return f'<a class="rs-button" href="{escape(address)}">{escape(text)}</a>'
