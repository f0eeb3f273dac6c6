"""Slurm: one job for each run, over a folder that this machine and the nodes share.

client    Slurm's own commands, here or over ssh
script    the job of one run: its options and its script
launcher  SlurmLauncher: starts and stops the process that watches a job
watch     that process: submits the job or takes it up again, follows it, says how it ended
job       the job itself, on a node: the worker, and what Slurm's signals mean to it
ownership which job trains in a run's folder
"""
