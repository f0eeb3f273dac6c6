"""The engine of Rankscope: everything the dashboard and the command line do, without a screen.

A map, ground floor first. A module imports only what stands above it here.

    errors            EngineError(problem, remedy): what went wrong and what to do, for the person
    settings          where data and models live and which device to use, from the environment
    files             files and folders written whole, JSON Lines, reading with a bound
    database          a SQLite file that several processes share, and its migrations
    devices           which devices there are, and which one to compute on
    cancellation      the signal that stops the work of a tab
    host_memory       giving freed memory back to the system
    library_imports   importing transformers and PEFT from several threads

    starter           the bundled teaching model and its datasets
    spec              what a run is, checked as a whole
    run_folder        a run's directory: spec, lock, metrics, result, reports
    weights           reading matrices and checkpoints safely
    chat_template     the chat template that a model's folder or tokenizer has
    base_models       find, describe, fingerprint and load a base model
    adapters          what a trained adapter is, and whether it fits a base model
    data              read a dataset, show and check it, turn it into supervised tokens
    spectrum          singular values, truncation, ΔW, similarity
    calculator        parameters and memory from shapes alone
    training          the worker: plan, models, forward paths, loop, checkpoints, reports
    runs              the list of runs, their states, starting and stopping them
    compare           the base and the adapted model answering side by side
    doctor            what this machine has and what works here
    engine            all of it behind one façade, for pages and command line
    cli               the command line

Nothing here imports gradio, plotly or anything of `pages`. This file imports nothing, so that
`import lora_engine.errors` costs nothing either.
"""
