"""Ray: one job of the Ray Jobs API for each run, over a data folder or a storage that
the nodes share.

client    Ray's own HTTP interface: submit, look, cancel, log; nothing of Ray is installed here
code      this program as the zip archive that a job runs
tenancy   whose job may write in a run's folder, and whether it still does: token and heartbeat
storage   what fsspec opens, with files in pieces under their hashes
command   what a job is told: its command and its environment
shared_content  what several runs may refer to there, and its end when none does
forgetting  the process here that lets a storage forget deleted runs
brought   what a job takes from a storage: spec, base, sets, checkpoints
returned  what a job gives to a storage, and how it comes here
apart     both ends of a job over a storage, with its token and heartbeat
launcher  RayLauncher
last_words  why a job ended without a result
watch     the process here that submits a run's job and follows it
job       the process there that keeps the worker
node      whether that machine has the program and the packages
"""
