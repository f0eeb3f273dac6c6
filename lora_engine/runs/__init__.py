"""Runs: the list of training jobs, their states, and the starting and stopping of workers."""
