"""The page's text: hostile names stay text, and the file is private, whole and self-contained."""

import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ges_history.errors import DatabaseError, HistoryError
from ges_history.reports.page import contents, extra, write_page
from ges_history.reports.page.arranged import arrange
from ges_history.reports.page.document import render
from ges_history.reports.page.series import marks, packed_graph
from hostile import write_hostile
from synthetic import write_database


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_database(tmp_path_factory.mktemp("fleet") / "fleet.duckdb", graphs=4, backups=300)


@pytest.fixture(scope="module")
def page(fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(fleet, path)
    return path


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    return write_hostile(tmp_path / "hostile.duckdb")


class Elements(HTMLParser):
    """The names of all elements, the attributes' names, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names = list[str]()
        self.attributes = set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes.update(name for name, _ in attrs)


def test_page_is_for_its_owner_only(page: Path) -> None:
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert [file.name for file in page.parent.iterdir()] == ["page.html"]


def test_page_replaces_an_older_one_whole(fleet: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")
    path.chmod(0o644)
    write_page(fleet, path)
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_page_that_cannot_be_written_is_a_sentence(fleet: Path, tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"cannot be written to .*missing.*No such file"):
        write_page(fleet, tmp_path / "missing" / "page.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(HistoryError, match="cannot be written"):
        write_page(fleet, tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_page_of_no_database_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="There is no database"):
        write_page(tmp_path / "none.duckdb", tmp_path / "page.html")


def test_page_without_the_extra_says_how_to_install_it(
    fleet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda module: None)
    with pytest.raises(
        HistoryError, match=r"altair.*vl-convert-python.*ges-backup-history\[page\]"
    ):
        write_page(fleet, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_page_names_nothing_to_fetch(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = Elements(text)
    assert not {"src", "srcset", "action"} & found.attributes
    assert set(re.findall(r'href="([^"#]*)', text)) <= {"", "data:,"}
    assert "url(" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert "default-src &#39;none&#39;" in text
    assert found.names.count("script") == 3


def test_same_contents_give_the_same_page(fleet: Path) -> None:
    read = contents.read_contents(fleet)
    assert render(read) == render(read)


def test_hostile_texts_stay_text(hostile: Path, page: Path, tmp_path: Path) -> None:
    write_page(hostile, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    found = Elements(text)
    assert "onerror" not in found.attributes
    assert "img" not in found.names
    assert found.names.count("script") == 3
    assert "&lt;img src=x onerror=alert(2)&gt;&#34;&#39;&amp;{{7*7}}\ufffd\ufffd[31m" in text
    assert not set(text) & {"\u202e", "\x1b"}
    assert {"size jumped", "stuck"} <= set(re.findall(r"size jumped|stuck", text))


def test_script_data_is_json_that_cannot_end_its_element(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    packed = re.search(r'id="packed">(.*?)</script>', text, re.DOTALL)
    assert packed is not None
    assert "<" not in packed[1]
    assert len(json.loads(packed[1])["graphs"]) == text.count('<details class="card"')


def test_worst_graphs_come_first_and_deleted_ones_last(fleet: Path) -> None:
    graphs = arrange(contents.read_contents(fleet))
    weights = [sum(problem.weight for problem in graph.problems) for graph in graphs]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] > 0
    assert [graph.name for graph in graphs if graph.deleted] == [graphs[-1].name]
    assert [graph.place for graph in graphs] == list(range(len(graphs)))


def test_packed_series_are_the_views_rows(fleet: Path) -> None:
    read = contents.read_contents(fleet)
    graph = next(g for g in arrange(read) if g.name == "graph-1")
    first, steps, sizes, means = packed_graph(graph, 10**6)["s"]
    assert graph.sizes is not None
    assert _summed([first, *(steps or [1] * (len(sizes) - 1))]) == graph.sizes["day"]
    assert [value / 10 for value in _summed(sizes)] == graph.sizes["size_mb"]
    assert [value / 10 for value in _summed(means)] == pytest.approx(
        graph.sizes["avg_7d_mb"], abs=0.06
    )
    assert len(marks(graph)) == len(graph.anomalies)


@pytest.mark.parametrize(
    ("graphs", "weeks"), [(0, 104), (1, 104), (500, 51), (1000, 25), (9999, 13)]
)
def test_many_graphs_shorten_the_window(graphs: int, weeks: int) -> None:
    assert contents.window_weeks(graphs) == weeks


def test_page_of_an_empty_history_says_so(tmp_path: Path) -> None:
    database = write_database(tmp_path / "empty.duckdb", graphs=0, edge_cases=False)
    write_page(database, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "No graph is known yet." in text
    assert "Last load never" in text


def _summed(steps: list[int]) -> list[int]:
    return [sum(steps[: n + 1]) for n in range(len(steps))]
