"""Processes that are forked from one that has imported what a load in it would import first."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["preloaded"])
