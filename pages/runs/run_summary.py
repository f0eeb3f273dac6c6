"""One run in words: heading, what went wrong, figures, what to do next; all escaped here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from lora_engine.engine import Engine
from lora_engine.language import tr, tr_count, translatable
from lora_engine.run_folder import MemoryShortage, MetricsRow
from lora_engine.runs import RunState, RunView, state_name
from lora_engine.training import describe_loss_curve, read_precision
from pages import ADAPTERS, COMPARE, RUNS, SPECTRUM, TRAIN
from pages.shared import layout

INTERRUPTED = translatable(
    "The worker ended without a word: it was killed (perhaps for want of memory), or the machine "
    "went down. Its metrics are kept; resume goes on from the newest checkpoint."
)
STOPPING_EARLY = translatable("Stopping before the first step.")
NOTHING_YET = {
    RunState.RUNNING: translatable("Starting: loading the model and the rows."),
    RunState.PAUSING: STOPPING_EARLY,
    RunState.CANCELLING: STOPPING_EARLY,
}
STOPPING = {
    RunState.PAUSING: translatable("Finishing its step and saving a checkpoint."),
    RunState.CANCELLING: translatable("Finishing its step, then stopping."),
}


def heading(engine: Engine, view: RunView) -> str:
    """Name and state, how far it is and how it goes, what is wrong, and where to go next."""
    parts = [_title(view), _start(view), _progress(engine, view), _verdict(engine, view)]
    return "".join([*parts, *_troubles(engine, view), _links(engine, view)])


def empty() -> str:
    return layout.empty_state_html(
        tr("No run yet"), tr("The pirate example trains a small adapter in about a minute.")
    )


def facts(engine: Engine, view: RunView) -> str:
    """The strip of figures beneath the curve."""
    newest, result = view.newest, view.result
    if newest is None:
        return ""
    found = [(tr("Loss"), layout.number(newest.loss))]
    if result is not None and result.start_eval_loss is not None:
        found.append((tr("Evaluation loss at the start"), layout.number(result.start_eval_loss)))
    if result is not None and result.eval_loss is not None:
        found.append((tr("Evaluation loss"), layout.number(result.eval_loss)))
    by_set = (result.eval_loss_by_set or {}) if result is not None else {}
    found += [
        (tr("… of {name}", name=escape(name)), layout.number(loss)) for name, loss in by_set.items()
    ]
    rows = engine.runs.curve(view.id)
    found += [*_scores(rows), *_rewards(rows)]
    speed = result.tokens_per_s if result is not None else newest.tokens_per_s
    memory = result.peak_memory_bytes if result is not None else newest.memory_bytes
    found += [
        (tr("Tokens a second"), layout.number(speed)),
        (tr("Tokens read"), layout.count(newest.tokens)),
        (tr("Time in training"), layout.duration(newest.elapsed_s)),
        (tr("Peak memory") if result is not None else tr("Memory"), layout.byte_size(memory)),
        (tr("Learning rate"), layout.number(newest.learning_rate)),
        (tr("Gradient norm"), layout.number(newest.grad_norm)),
        (tr("Device"), escape(view.record.device or "–")),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in found)
    kept = read_precision(engine.runs.directory(view.id))
    note = "" if kept is None else f'<p class="rs-spec-note">{escape(kept.words)}</p>'
    return f'<dl class="rs-facts">{cells}</dl>{note}'


def _verdict(engine: Engine, view: RunView) -> str:
    """How the loss goes, in words."""
    if view.newest is None:
        return ""
    words = describe_loss_curve(engine.runs.curve(view.id))
    return f'<p class="rs-verdict">{escape(words)}</p>'


def _scores(rows: Sequence[MetricsRow]) -> list[tuple[str, str]]:
    """A classifier's newest accuracy and F1, while it runs too; nothing for other runs."""
    newest = next((row for row in reversed(rows) if row.eval_accuracy is not None), None)
    if newest is None:
        return []
    found = ((tr("Accuracy"), newest.eval_accuracy), ("F1", newest.eval_f1))
    return [(name, layout.number(value)) for name, value in found if value is not None]


def _rewards(rows: Sequence[MetricsRow]) -> list[tuple[str, str]]:
    """The newest rewards of a run that learns from them; nothing for other runs."""
    sampled = [row.reward for row in rows if row.reward is not None]
    held_out = [row.eval_reward for row in rows if row.eval_reward is not None]
    found = ((tr("Reward"), sampled), (tr("Reward, held out"), held_out))
    return [(name, layout.number(values[-1])) for name, values in found if values]


def _title(view: RunView) -> str:
    record, state = view.record, view.record.state
    tags = "".join(f'<span class="rs-tag">{escape(tag)}</span>' for tag in record.tags)
    note = f'<p class="rs-run-note">{escape(record.note)}</p>' if record.note else ""
    return (
        f"<h2>{escape(record.name)} "
        f'<span class="rs-state rs-state-{state}" role="status">'
        f"{escape(state_name(state))}</span></h2>"
        + (f'<p class="rs-tags">{tags}</p>' if tags else "")
        + note
    )


def _start(view: RunView) -> str:
    """The run or the adapter that this one goes on from; nothing for a run from scratch."""
    spec = view.record.spec
    if spec is not None and spec.extended_from is not None:
        before = spec.extended_from
        link = f'<a href="{escape(layout.link(RUNS, run=before.run))}">{escape(before.run)}</a>'
        words = tr(
            "Goes on from run {run} after its step {step}, optimizer and all.",
            run=link,
            step=f"{before.step:,}",
        )
        return f"<p>{words}</p>"
    if spec is not None and spec.method.init_from is not None:
        adapter = escape(spec.method.init_from)
        return f"<p>{tr('Starts from the adapter {adapter}.', adapter=adapter)}</p>"
    return ""


def _progress(engine: Engine, view: RunView) -> str:
    state = view.record.state
    if state is RunState.QUEUED:
        wait = engine.runs.waits_for(view.id)
        words = _place(engine.runs.queue(), view.id) if wait is None else wait.words()
        return f"<p>{escape(words)}</p>"
    if view.queued is not None and view.newest is None:
        return f"<p>{escape(view.queued.words)}</p>"
    if view.newest is None:
        words = tr(NOTHING_YET[state]) if state in NOTHING_YET else ""
        return f"<p>{words}</p>" if words else ""
    done, total = view.newest.step, view.newest.total_steps
    if view.seconds_left is None:
        words = tr("Step {done} of {total}.", done=f"{done:,}", total=f"{total:,}")
    else:
        words = tr(
            "Step {done} of {total}, about {time} left.",
            done=f"{done:,}",
            total=f"{total:,}",
            time=layout.duration(view.seconds_left),
        )
    stopping = f" {tr(STOPPING[state])}" if state in STOPPING else ""
    if view.queued is not None:
        stopping = f" {escape(view.queued.words)}"
    bar = ""
    if state is not RunState.FINISHED:
        label = escape(tr("Steps done"))
        bar = f'<progress max="{total}" value="{done}" aria-label="{label}"></progress>'
    return f"{bar}<p>{words}{stopping}</p>"


def _place(queue: list[str], run_id: str) -> str:
    place = queue.index(run_id) if run_id in queue else 0
    if place == 0:
        return tr("Waiting for a device to be free. It is next.")
    return tr_count(
        "Waiting for a device to be free. One other run waits before it.",
        "Waiting for a device to be free. {count} other runs wait before it.",
        place,
    )


def _troubles(engine: Engine, view: RunView) -> list[str]:
    found = []
    if view.problem is not None:
        words = tr("This run cannot be read whole:")
        found.append(f"<strong>{words}</strong> {escape(view.problem)}")
    if view.result is not None and view.result.error is not None:
        error = view.result.error
        found.append(f"<strong>{escape(error.problem)}</strong> {escape(error.remedy)}")
        if error.out_of_memory is not None:
            found.append(_shortage(view.id, error.out_of_memory))
    if view.trouble is not None:
        problem, remedy = escape(view.trouble.problem), escape(view.trouble.remedy)
        found.append(f"<strong>{problem}</strong> {remedy}")
    elif view.record.state is RunState.INTERRUPTED:
        found.append(tr(INTERRUPTED))
    stall = engine.runs.stall(view.id) if view.trouble is None else None
    if stall is not None and stall.is_stopped:
        problem = tr("The worker does not answer:")
        remedy = tr(
            "its process was stopped from outside (SIGSTOP). It goes on when it is sent SIGCONT; "
            "cancel ends it."
        )
        found.append(f"<strong>{problem}</strong> {remedy}")
    elif stall is not None:
        problem = tr("No step for {time}.", time=layout.duration(stall.seconds))
        remedy = tr(
            "The worker is alive: a long evaluation or a slow disk can take this long. If nothing "
            "comes, cancel it and resume."
        )
        found.append(f"<strong>{problem}</strong> {remedy}")
    return [f'<p class="rs-run-error">{text}</p>' for text in found]


def _shortage(run_id: str, short: MemoryShortage) -> str:
    """What was expected and measured, and the nearest change as a button."""

    def size(of: int | None) -> str:
        return tr("unknown") if of is None else layout.byte_size(of)

    text = tr(
        "Expected: {expected}; measured peak: {peak}; there was: {available}.",
        expected=size(short.estimate_bytes),
        peak=size(short.peak_bytes),
        available=size(short.available_bytes),
    )
    if not short.changes:
        return f"{text} {tr('No change known here makes it fit; take a smaller base model.')}"
    fields = {
        path: json.dumps(value) for change in short.changes for path, value in change.fields.items()
    }
    what = tr(" and ").join(change.what for change in short.changes)
    harm = "; ".join(dict.fromkeys(change.harm for change in short.changes))
    address = layout.link(TRAIN, **{"from": run_id, **fields})
    fits = tr("What fits: {what} ({harm}).", what=what, harm=harm)
    return f"{text} {escape(fits)} " + button((address, tr("Train with {what}", what=what)))


def _links(engine: Engine, view: RunView) -> str:
    """Where one goes on from a run, the first first."""
    again = (layout.link(TRAIN, **{"from": view.id}), tr("Train again with changes"))
    whole = engine.runs.directory(view.id).path / "model"
    if whole.is_dir():
        words = tr(
            "The whole model is in {folder}; give that folder as a base model.",
            folder=f"<code>{escape(str(whole))}</code>",
        )
        return f"<p>{words}</p>" + _row_of([again])
    if view.record.state is not RunState.FINISHED:
        return _row_of([again])
    spec = view.record.spec
    if spec is not None and not spec.method.is_lora:  # it has no factors to show or to cut
        links = [(layout.link(ADAPTERS, adapter=view.id), tr("See its adapter")), again]
    else:
        links = [
            (layout.link(SPECTRUM, adapter=view.id), tr("See its spectrum")),
            (layout.link(ADAPTERS, adapter=view.id, tab="resize"), tr("Resize")),
            again,
            (_go_on(view), tr("Go on from its adapter")),
            (layout.link(ADAPTERS, adapter=view.id, tab="take-away"), tr("Export")),
        ]
    if spec is not None:
        answers = spec.task == "causal_lm"
        what = tr("Compare with the base") if answers else tr("Try it out")
        links = [(layout.link(COMPARE, adapter=view.id), what), *links]
    return _row_of(links, has_first=True)


def _row_of(links: Sequence[tuple[str, str]], has_first: bool = False) -> str:
    buttons = [button(link, is_first=has_first and not place) for place, link in enumerate(links)]
    return f'<p class="rs-next">{" ".join(buttons)}</p>'


def _go_on(view: RunView) -> str:
    """The train page with this run's spec, starting from its adapter."""
    return layout.link(TRAIN, **{"from": view.id, "init_from": view.id})


def button(link: tuple[str, str], is_first: bool = False) -> str:
    """A link that looks like a button; the first is what most do next."""
    address, text = link
    look = "rs-button rs-first" if is_first else "rs-button"
    return f'<a class="{look}" href="{escape(address)}">{escape(text)}</a>'
