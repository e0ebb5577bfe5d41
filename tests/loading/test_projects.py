"""Many projects, side by side in one history: each exact, a bad one harms no other."""

import json
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from beginnings import Beginnings, contents
from cli_harness import Command, after, killed_load
from ges_backups.client import GesClient
from ges_backups.errors import SettingsError
from ges_backups.project import resolve_projects
from ges_emulator import Emulator, Fault, Fleet
from ges_history.loading import projects
from ges_history.loading.outcome import LoadOutcome
from ges_history.loading.projects import load
from harness import NOW, TOKEN, Warehouse, assert_exact, differences, fill, served, the_graph

NAMES = ("orders", "risk", "search")


def fleet_called(name: str, graphs: int = 2, backups: int = 3) -> Fleet:
    """A project whose ids begin with its name."""
    fleet = Fleet(f"{name}0123456789abcdef"[:32], now=NOW)
    for number in range(graphs):
        fill(fleet.add_graph(f"{name}{number}"), backups)
    return fleet


@pytest.fixture
def emulators() -> Iterator[list[Emulator]]:
    with (
        Emulator(fleet_called("orders")) as one,
        Emulator(fleet_called("risk")) as two,
        Emulator(fleet_called("search")) as three,
    ):
        yield [one, two, three]


def entries(emulators: list[Emulator], **more: Any) -> list[dict[str, Any]]:
    return [
        {"name": name, "project_id": one.fleet.project_id, "endpoint": one.endpoint, **more}
        for name, one in zip(NAMES, emulators, strict=True)
    ]


def load_all(warehouse: Warehouse, emulators: list[Emulator], **options: Any) -> LoadOutcome:
    projects = entries(emulators)
    return load(warehouse.path, projects=projects, credentials={"token": TOKEN}, **options)


@pytest.fixture
def loaded(warehouse: Warehouse, emulators: list[Emulator], beginnings: Beginnings) -> Warehouse:
    """A warehouse into which all projects were loaded once."""
    of = [contents(emulator) for emulator in emulators]
    beginnings.make(warehouse, lambda empty: load_all(empty, emulators), "all projects", of)
    return warehouse


def wrong_rows(warehouse: Warehouse, emulators: list[Emulator]) -> dict[str, Any]:
    """What differs from what all projects together list."""
    wrong: dict[str, Any] = {}
    listed = {key for one in emulators for key in served(one.fleet)}
    for one in emulators:
        found = differences(warehouse, one.fleet)
        wrong |= {
            key: what for key, what in found.items() if key not in listed - {*served(one.fleet)}
        }
    return wrong


def test_all_projects_are_loaded_and_summed(
    warehouse: Warehouse, emulators: list[Emulator]
) -> None:
    outcome = load_all(warehouse, emulators)
    assert outcome.exit_code == 0
    assert outcome.backups["total"] == 18
    assert {name: one.backups["new"] for name, one in outcome.projects.items()} == dict.fromkeys(
        NAMES, 6
    )
    assert wrong_rows(warehouse, emulators) == {}
    assert {row["name"] for row in warehouse.rows("projects")} == set(NAMES)
    assert load_all(warehouse, emulators).outcome == "unchanged"


def test_changes_of_each_project_are_its_own(loaded: Warehouse, emulators: list[Emulator]) -> None:
    fill(the_graph(emulators[0].fleet, "orders0"), 2, first=50)
    the_graph(emulators[1].fleet, "risk0").delete_backup("risk0-b1")
    outcome = load_all(loaded, emulators)
    told = {
        name: (one.outcome, one.backups["new"], one.backups["deleted"])
        for name, one in outcome.projects.items()
    }
    assert told == {
        "orders": ("complete", 2, 0),
        "risk": ("complete", 0, 1),
        "search": ("unchanged", 0, 0),
    }
    assert wrong_rows(loaded, emulators) == {}


def test_a_project_that_is_down_harms_no_other(
    warehouse: Warehouse, emulators: list[Emulator]
) -> None:
    emulators[1].revoke_tokens()
    outcome = load_all(warehouse, emulators)
    assert outcome.exit_code == 3
    assert {name: one.outcome for name, one in outcome.projects.items()} == {
        "orders": "complete",
        "risk": "failed",
        "search": "complete",
    }
    (problem,) = outcome.problems
    assert (problem["project"], problem["error_code"]) == ("risk", "APIGW.0301")
    assert "refused the credential" in problem["error_msg"]
    assert len(warehouse.backups) == 12
    sent = {name: len(one.requests) for name, one in zip(NAMES, emulators, strict=True)}
    assert sent["risk"] > 0
    assert {name: one.requests for name, one in outcome.projects.items()} == sent
    assert outcome.requests == sum(sent.values())


def test_what_nobody_foresaw_in_a_project_is_the_failure_of_that_one(
    warehouse: Warehouse, emulators: list[Emulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = projects.load_project

    def surprised(where: Any, settings: Any, *others: Any) -> Any:
        if settings.name == "risk":
            raise RuntimeError("can't start new thread")
        return read(where, settings, *others)

    monkeypatch.setattr(projects, "load_project", surprised)
    outcome = load_all(warehouse, emulators)
    assert outcome.exit_code == 3
    assert [one.outcome for one in outcome.projects.values()] == ["complete", "failed", "complete"]
    (problem,) = outcome.problems
    assert problem["error_msg"] == "an unforeseen RuntimeError: can't start new thread"


def test_where_every_project_fails_the_load_failed(
    warehouse: Warehouse, emulators: list[Emulator]
) -> None:
    for one in emulators:
        one.revoke_tokens()
    outcome = load_all(warehouse, emulators)
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1)


def test_some_projects_are_chosen_by_name_or_id(
    warehouse: Warehouse, emulators: list[Emulator]
) -> None:
    chosen = ["risk", emulators[2].fleet.project_id]
    outcome = load_all(warehouse, emulators, project=chosen)
    assert list(outcome.projects) == ["risk", "search"]
    assert emulators[0].requests == []
    with pytest.raises(SettingsError, match="no project 'riks'; there is risk"):
        load_all(warehouse, emulators, project=["riks"])


def test_requests_of_one_endpoint_together_stay_within_its_concurrency(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three projects of one server, three requests at once for all of them together."""
    lock, now, most = threading.Lock(), [0], [0]
    send = GesClient._send

    def counted(self: GesClient, *args: Any, **options: Any) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        try:
            return send(self, *args, **options)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(GesClient, "_send", counted)
    fleet = fleet_called("orders", graphs=12)
    with Emulator(fleet) as emulator:
        projects = entries([emulator] * 3, concurrency=3)
        for number, entry in enumerate(projects[1:]):
            entry["project_id"] = f"other{number}"
        outcome = load(warehouse.path, projects=projects, credentials={"token": TOKEN})
    assert most == [3]
    told = {name: one.outcome for name, one in outcome.projects.items()}
    assert told == {"orders": "complete", "risk": "failed", "search": "failed"}


@pytest.mark.parametrize(
    "function",
    [
        "dlt.extract.storage.ExtractStorage.commit_new_load_package",
        "ges_history.warehouses.duckdb_destination._MergeJob.run",
        "dlt.destinations.job_client_impl.SqlJobClientBase.complete_load",
    ],
    ids=["extracted", "merged", "complete"],
)
@pytest.mark.parametrize("nth", [1, 2])
def test_a_kill_leaves_each_project_exact_after_the_next_load(
    loaded: Warehouse, emulators: list[Emulator], function: str, nth: int
) -> None:
    for one, name in zip(emulators, NAMES, strict=True):
        graph = the_graph(one.fleet, f"{name}0")
        graph.delete_backup(f"{name}0-b1")
        fill(graph, 2, first=50)
    settings = {"projects": entries(emulators), "credentials": {"token": TOKEN}}
    assert killed_load(loaded, settings, after(function, nth)) == -signal.SIGKILL
    assert load_all(loaded, emulators).exit_code == 0
    assert wrong_rows(loaded, emulators) == {}
    assert len(loaded.deleted) == 3
    assert load_all(loaded, emulators).outcome == "unchanged"


def test_fifty_projects_are_loaded(warehouse: Warehouse) -> None:
    with Emulator(fleet_called("p0", graphs=4, backups=2)) as emulator:
        names = [f"p{number}" for number in range(50)]
        for name in names[1:]:
            emulator.tokens.add(f"token-{name}", fleet_called(name).project_id)
        # One server holds one project; the others answer that the token is another project's.
        projects = [
            {
                "name": name,
                "project_id": fleet_called(name).project_id,
                "endpoint": emulator.endpoint,
            }
            for name in names
        ]
        outcome = load(warehouse.path, projects=projects, credentials={"token": TOKEN})
    assert len(outcome.projects) == 50
    assert outcome.projects["p0"].backups["total"] == 8
    assert outcome.exit_code == 3


@pytest.mark.parametrize(
    "count", [12, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_many_projects_of_twenty_graphs_are_exact_and_some_that_are_down_harm_no_other(
    warehouse: Warehouse, count: int
) -> None:
    """Every other one is listed at once, the rest by graphs; five do not answer at first."""
    fleets = [fleet_called(f"p{number:02}x", graphs=20, backups=3) for number in range(count)]
    with ExitStack() as running:
        servers = [running.enter_context(Emulator(fleet)) for fleet in fleets]
        projects = [
            {"name": f"p{number}", "project_id": one.fleet.project_id, "endpoint": one.endpoint}
            | {"listing": ("graphs", "project")[number % 2], "request_seconds": 1}
            for number, one in enumerate(servers)
        ]

        def load_each() -> LoadOutcome:
            return load(warehouse.path, projects=projects, credentials={"token": TOKEN})

        def served_by(numbers: Iterable[int]) -> set[str]:
            return {key for number in numbers for key in served(fleets[number])}

        down = range(4, 9)
        up = set(range(count)) - set(down)
        for number in down:
            servers[number].stop()
        first = load_each()
        assert first.exit_code == 3
        failed = {name for name, one in first.projects.items() if one.outcome == "failed"}
        assert failed == {f"p{number}" for number in down}
        assert {problem["project"] for problem in first.problems} == failed
        graphs = 20 * len(up)
        assert first.graphs == {"total": graphs, "listed": graphs, "failed": 0}
        by_graphs = sum(number % 2 == 0 for number in up)
        requests = sum(one.requests for one in first.projects.values() if one.outcome != "failed")
        assert requests == by_graphs * (1 + 20 + 1) + (len(up) - by_graphs)
        assert warehouse.listed == served_by(up)

        for number in (1, 2, 5):
            graph = fleets[number].graphs[7]
            graph.delete_backup(graph.backups[1])
            fill(graph, 1, first=50)
        for number in down:
            servers[number].start()
        second = load_each()
        assert (second.exit_code, second.problems) == (0, [])
        graphs = 20 * count
        assert second.graphs == {"total": graphs, "listed": graphs, "failed": 0}
        kept = warehouse.backups
        assert second.backups["total"] == len(kept) == 3 * graphs + 2
        assert warehouse.listed == served_by(range(count))
        assert {row["graph_id"] for row in kept.values() if row["deleted_at"]} == {
            fleets[number].graphs[7].id for number in (1, 2)
        }


def test_all_that_the_credential_sees_are_loaded(warehouse: Warehouse) -> None:
    with Emulator(fleet_called("orders")) as emulator:
        credentials = {"token": TOKEN, "iam_endpoint": emulator.endpoint}
        outcome = load(
            warehouse.path, projects="all", endpoint=emulator.endpoint, credentials=credentials
        )
        assert [one.backups["total"] for one in outcome.projects.values()] == [6]
        assert_exact(warehouse, emulator.fleet)


def test_projects_of_no_region_are_left_out_and_named() -> None:
    """``MOS`` is in every account; a project without a name goes by its id."""
    names = ("eu-west-101", "MOS", "", "ap-southeast-3_Tests", "eu-de")
    told = [{"id": f"{number}a7c66da", "name": name} for number, name in enumerate(names)]
    said: list[str] = []
    with Emulator(fleet_called("orders")) as emulator:
        body = json.dumps({"projects": told}).encode()
        emulator.faults.add(Fault.body(body, "projects"), times=None)
        given = {
            "projects": "all",
            "region": "eu-west-101",
            "credentials": {"token": TOKEN, "iam_endpoint": emulator.endpoint},
        }
        projects = resolve_projects(given, isolated=True, say=said.append) or []
    assert [(one.name, one.region) for one in projects] == [
        ("eu-west-101", "eu-west-101"),
        ("ap-southeast-3_Tests", "ap-southeast-3"),
        ("eu-de", "eu-de"),
    ]
    assert said == ["left out, as no region's projects by their names: 'MOS', '2a7c66da'"]


def test_the_command_lists_projects_from_a_variable_and_tells_each(
    emulators: list[Emulator], tmp_path: Path
) -> None:
    command = Command(None, tmp_path)
    variables = {
        "SOURCES__GES_BACKUPS__PROJECTS": json.dumps(entries(emulators)),
        "SOURCES__GES_BACKUPS__CREDENTIALS__TOKEN": TOKEN,
    }
    done = command.load("--json", **variables)
    assert done.code == 0, done.err
    told = done.json
    assert told["backups"]["total"] == 18
    assert {name: part["backups"]["total"] for name, part in told["projects"].items()} == (
        dict.fromkeys(NAMES, 6)
    )
    some = command.load("--project", "risk", **variables)
    assert some.code == 0
    assert "project   risk: unchanged; 2 graphs, 0 new, 6 kept" in some.out


def test_the_configuration_file_lists_projects_with_settings_of_their_own(
    emulators: list[Emulator], tmp_path: Path
) -> None:
    folder = tmp_path / ".dlt"
    folder.mkdir()
    lines = ["[sources.ges_backups]", 'full_listing_interval = "7d"']
    for entry in entries(emulators):
        lines.append("[[sources.ges_backups.projects]]")
        lines += [f'{key} = "{value}"' for key, value in entry.items()]
        lines.append(f'credentials = {{ token = "{TOKEN}" }}')
    (folder / "config.toml").write_text("\n".join(lines))
    done = Command(None, tmp_path).load("--json")
    assert done.code == 0, done.err
    assert done.json["backups"]["total"] == 18


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ("some", "must be .*all.* or a list"),
        ([], "must be .*all.* or a list"),
        ([{"name": "a"}], "has no project_id"),
        ([{"project_id": "a", "regoin": "x"}], "no setting 'regoin'; did you mean region"),
        ([{"project_id": "a"}, {"project_id": "a"}], "Two of the projects have the name 'a'"),
        ([{"project_id": "a/b", "region": "eu-west-101"}], "Project a/b: project_id"),
    ],
)
def test_a_wrong_list_of_projects_is_refused_in_words(said: Any, match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        resolve_projects({"projects": said, "credentials": {"token": TOKEN}}, isolated=True)


def test_a_region_of_a_project_is_its_endpoint_though_another_is_set_above() -> None:
    listed = [{"name": "a", "project_id": "a", "region": "eu-west-101"}, {"project_id": "b"}]
    given = {"projects": listed, "endpoint": "https://ges.example", "credentials": {"token": "t"}}
    one, two = resolve_projects(given, isolated=True) or []
    assert one.endpoint == "https://ges.eu-west-101.myhuaweicloud.eu"
    assert (two.endpoint, two.name) == ("https://ges.example", "b")
