"""Run as a program: hold a project's lock until killed, or until standard input ends."""

import sys
from pathlib import Path

from ges_history.warehouses.lake import LakeWarehouse

if __name__ == "__main__":
    beside, project = sys.argv[1:]
    with LakeWarehouse(Path(beside)).lock(project, 0.0):
        print("held", flush=True)
        sys.stdin.read()
