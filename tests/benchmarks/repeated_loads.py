"""Many loads one after another in one process; after each, what the disk holds, as a line of JSON.

    python tests/benchmarks/repeated_loads.py ENDPOINT LOADS APPEND

The settings come from the environment, as for the command. APPEND: new backups of each graph
before each load.
"""

import json
import sys
import urllib.request
from pathlib import Path

from measure import folder_bytes

from ges_history import load

endpoint, loads, append = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
database = Path("ours.duckdb")
for number in range(loads):
    if append:
        urllib.request.urlopen(f"{endpoint}/control?append={append}").read()
    outcome = load(database)
    print(
        json.dumps(
            {
                "load": number + 1,
                "seconds": outcome.seconds,
                "requests": outcome.requests,
                "backups": outcome.backups["total"],
                "database_bytes": database.stat().st_size,
                "folder_bytes": folder_bytes(Path(f".{database.name}.dlt")),
            }
        ),
        flush=True,
    )
