"""The runs page: every run in a table, and one of them live.

Which run is shown stands in the address (`/runs?run=…`), so a link or a reload shows the same.
"""

from __future__ import annotations

from html import escape

import gradio as gr

from lora_engine.engine import Engine, RunView
from lora_engine.runs.store import ACTIVE, RESUMABLE, RunState
from lora_engine.training.recipes import recipe_spec
from lora_engine.training.verdict import verdict
from pages import COMPARE, RUNS, SPECTRUM, TRAIN, figures, layout
from pages.live import Column, live_plot, live_table, table_value
from pages.wiring import expose, problem_box, wire

REFRESH_S = 1.0
LOG_LINES = 200
EXAMPLE = "pirate"

HELP = r"""
**Loss** is the mean of $-\log p$ over the supervised tokens of a step, in nats a token; the
perplexity is $e^{\text{loss}}$, so a loss of 0.69 is the uncertainty of a fair coin at every
token. **Evaluation loss** is the same over rows that are never trained on: while both fall the
run learns; when evaluation turns up while training falls, it memorises.

Tokens a second counts every token read, padding left out. Time left is the mean time a step so
far, times the steps to go. Memory is the worker's own: resident memory on a processor, the
largest allocation on a GPU.
"""

COLUMNS = (
    Column("Run"),
    Column("State"),
    Column("Steps", layout.count, numeric=True),
    Column("Loss", layout.number, numeric=True),
    Column("Evaluation loss", layout.number, numeric=True),
    Column("Rank", layout.count, numeric=True),
    Column("Learning rate", layout.number, numeric=True),
    Column("Tokens/s", layout.number, numeric=True),
    Column("Seconds", layout.number, numeric=True),
    Column("Id"),
)


def build(engine: Engine) -> gr.Blocks:
    with layout.shell(RUNS) as blocks:
        heading = gr.HTML(elem_id="run-heading")
        start = gr.Button("Start the example", variant="primary", visible=False, elem_id="start")
        with gr.Row(elem_classes="rs-actions"):
            cancel = gr.Button("Cancel", visible=False, elem_id="cancel")
            resume = gr.Button("Resume", visible=False, elem_id="resume")
        problem = problem_box()
        curve = live_plot(label="Loss of the run", elem_id="loss-curve")
        facts = gr.HTML(elem_id="run-facts")
        layout.section("All runs")
        table = live_table(label="All runs", file_name="runs.csv", elem_id="all-runs")
        with gr.Accordion("Log", open=False):
            log = gr.Textbox(
                show_label=False, lines=12, max_lines=12, interactive=False, autoscroll=True,
                elem_id="run-log",
            )  # fmt: skip
        layout.how_this_works(HELP)

        chosen = gr.Textbox(visible=False)
        shown = gr.Textbox(visible=False)
        tick_problem = problem_box()
        outputs = [shown, heading, curve, facts, table, log, start, cancel, resume]

        def open_page(request: gr.Request) -> tuple:
            run_id = layout.state_of(request, "run") or _newest(engine)
            return (run_id, *_page(engine, run_id))

        def tick(run_id: str, last: str) -> tuple:
            run_id = run_id or _newest(engine)
            return gr.skip() if _mark(engine, run_id) == last else _page(engine, run_id)

        def start_example() -> tuple:
            run_id = engine.submit(recipe_spec(EXAMPLE)).id
            return (run_id, *_page(engine, run_id))

        def cancel_run(run_id: str) -> tuple:
            engine.cancel(run_id)
            return _page(engine, run_id)

        def resume_run(run_id: str) -> tuple:
            engine.resume(run_id)
            return _page(engine, run_id)

        timer = gr.Timer(REFRESH_S)
        wire([blocks.load], open_page, [], [chosen, *outputs], problem=problem)
        wire([timer.tick], tick, [chosen, shown], outputs, problem=tick_problem, queue=False)
        wire([start.click], start_example, [], [chosen, *outputs], problem=problem)
        wire([cancel.click], cancel_run, [chosen], outputs, problem=problem)
        wire([resume.click], resume_run, [chosen], outputs, problem=problem)
        expose(_runs_endpoint(engine), api_name="runs")
    return blocks


def _newest(engine: Engine) -> str:
    runs = engine.runs()
    return runs[0].id if runs else ""


def _mark(engine: Engine, run_id: str) -> str:
    """Changes whenever something on the page would."""
    states = ",".join(
        f"{view.id}:{view.record.state}:{view.newest.seq if view.newest else 0}"
        for view in engine.runs()
    )
    return f"{run_id};{states};{len(engine.log_tail(run_id)) if run_id else 0}"


def _page(engine: Engine, run_id: str) -> tuple:
    """Everything the page shows, in the order of its outputs."""
    mark = _mark(engine, run_id)
    table = _table(engine.runs())
    if not run_id:
        empty = layout.empty_state_html(
            "No run yet",
            "The pirate example trains a small adapter in about a minute.",
        )
        hidden = gr.Button(visible=False)
        return (mark, empty, "", "", table, "", gr.Button(visible=True), hidden, hidden)
    view = engine.run(run_id)
    rows = sorted(engine.metrics(run_id), key=lambda row: row.step)
    evaluated = [row for row in rows if row.eval_loss is not None]
    curve = figures.loss_curve(
        [row.step for row in rows],
        [row.loss for row in rows],
        [row.step for row in evaluated],
        [row.eval_loss for row in evaluated],
    )
    state = view.record.state
    return (
        mark,
        _heading(view),
        figures.to_json(curve),
        _facts(view, verdict(rows)),
        table,
        engine.log_tail(run_id, LOG_LINES),
        gr.Button(visible=False),
        gr.Button(visible=state in (RunState.QUEUED, *ACTIVE)),
        gr.Button(visible=state in RESUMABLE),
    )


def _heading(view: RunView) -> str:
    """Name and state, the error if there is one, and where to go next."""
    record, state = view.record, view.record.state
    parts = [
        f"<h2>{escape(record.name)} "
        f'<span class="rs-state rs-state-{state}" role="status">{state}</span></h2>'
    ]
    if view.newest is not None:
        done, total = view.newest.step, view.newest.total_steps
        parts.append(
            f'<progress max="{total}" value="{done}" aria-label="Steps done"></progress>'
            f"<p>Step {done:,} of {total:,}{_time_left(view)}</p>"
        )
    elif state in (RunState.QUEUED, *ACTIVE):
        waiting = {
            RunState.QUEUED: "Waiting for the run before it to free the device.",
            RunState.RUNNING: "Starting: loading the model and the rows.",
        }
        parts.append(f"<p>{waiting.get(state, '')}</p>")
    if view.result is not None and view.result.error is not None:
        error = view.result.error
        parts.append(
            f'<p class="rs-run-error"><strong>{escape(error.problem)}</strong> '
            f"{escape(error.remedy)}</p>"
        )
    if state is RunState.INTERRUPTED:
        parts.append(
            '<p class="rs-run-error">The worker ended without a word: it was killed, or the '
            "machine went down. Its metrics are kept; resume goes on from the newest "
            "checkpoint.</p>"
        )
    links = [(layout.link(TRAIN, **{"from": view.id}), "Train again with changes")]
    if state is RunState.FINISHED:
        links = [
            (layout.link(COMPARE, adapter=view.id), "Compare with the base"),
            (layout.link(SPECTRUM, adapter=view.id), "See its spectrum"),
            *links,
        ]
    parts.append('<p class="rs-next">' + " ".join(map(_button, links)) + "</p>")
    return "".join(parts)


def _button(link: tuple[str, str]) -> str:
    address, text = link
    return f'<a class="rs-button" href="{escape(address)}">{escape(text)}</a>'


def _time_left(view: RunView) -> str:
    left = view.seconds_left
    return "" if left is None else f", about {layout.duration(left)} left"


def _facts(view: RunView, words: str) -> str:
    """The strip of figures beneath the curve, and the verdict in words."""
    newest, result = view.newest, view.result
    if newest is None:
        return ""
    facts = [("Loss", layout.number(newest.loss))]
    if result is not None and result.eval_loss is not None:
        facts.append(("Evaluation loss", layout.number(result.eval_loss)))
    speed = result.tokens_per_s if result is not None else newest.tokens_per_s
    facts += [
        ("Tokens a second", layout.number(speed)),
        ("Tokens read", layout.count(newest.tokens)),
        ("Time in training", layout.duration(newest.elapsed_s)),
        ("Memory", layout.byte_size(newest.memory_bytes)),
        ("Learning rate", layout.number(newest.learning_rate)),
        ("Gradient norm", layout.number(newest.grad_norm)),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f'<dl class="rs-facts">{cells}</dl><p class="rs-verdict">{escape(words)}</p>'


def _table(views: list[RunView]) -> str:
    rows = [
        (
            view.record.name,
            str(view.record.state),
            view.newest.step if view.newest else None,
            view.newest.loss if view.newest else None,
            view.result.eval_loss if view.result else None,
            view.record.spec.method.rank,
            view.record.spec.optimization.learning_rate,
            view.newest.tokens_per_s if view.newest else None,
            view.newest.elapsed_s if view.newest else None,
            view.id,
        )
        for view in views
    ]
    links = [layout.link(RUNS, run=view.id) for view in views]
    return table_value(COLUMNS, rows, links=links, empty="No run yet.")


def _runs_endpoint(engine: Engine):
    def runs() -> list[dict]:
        """Every run, newest first: id, name, state, step, total_steps, loss, eval_loss."""
        return [
            {
                "id": view.id,
                "name": view.record.name,
                "state": str(view.record.state),
                "step": view.newest.step if view.newest else 0,
                "total_steps": view.newest.total_steps if view.newest else None,
                "loss": view.newest.loss if view.newest else None,
                "eval_loss": view.result.eval_loss if view.result else None,
            }
            for view in engine.runs()
        ]

    return runs
