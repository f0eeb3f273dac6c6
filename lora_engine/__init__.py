"""The engine of Rankscope: everything the dashboard and the command line do, without a screen.

A map, in the order data flows:

    errors        EngineError(problem, remedy): what went wrong and what to do, for the person
    settings      where data and models live, which device, from the environment
    base_models   find, describe, fingerprint and load a base model
    data          read a dataset, show and check it, turn it into supervised tokens
    training      the spec of a run, the worker that trains it, its checkpoints and metrics
    runs          the list of runs, their states, starting and stopping them
    adapters      what a trained adapter is and whether it fits a base model
    compare       the base and the adapted model answering side by side
    calculator    parameters and memory from shapes alone
    spectrum      singular values, truncation, delta weights
    weights       reading matrices and checkpoints safely
    starter       the bundled teaching model and its datasets

Nothing here imports gradio, plotly or anything of `pages`. This file imports nothing, so that
`import lora_engine.errors` costs nothing either.
"""
