"""A stand-in for Huawei Cloud GES: a fleet of graphs that lives, served over real HTTP.

For the demo, for the tests, and for trying things out without an account.
"""

from ges_emulator.demo_fleet import demo_fleet
from ges_emulator.fault_plan import Faults
from ges_emulator.faults import Fault
from ges_emulator.fleet import Fleet
from ges_emulator.graph_life import Backup, Graph
from ges_emulator.request import Request
from ges_emulator.schedule import Schedule
from ges_emulator.server import Emulator

__all__ = [
    "Backup",
    "Emulator",
    "Fault",
    "Faults",
    "Fleet",
    "Graph",
    "Request",
    "Schedule",
    "demo_fleet",
]
