"""``ges-backups emulate`` as a user runs it."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from click.testing import CliRunner

from ges_history.commands.emulate import emulate as command

PROGRAM = "from ges_history.commands.emulate import emulate; emulate()"


@contextmanager
def emulate(*options: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str]]]:
    """The running command and the settings that it printed."""
    command = [sys.executable, "-u", "-c", PROGRAM, "--port", "0", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            printed = ""
            for line in process.stdout:
                printed += line
                if "Ctrl-C" in line:
                    break
            yield process, dict(re.findall(r"export (\w+)=(\S+)", printed))
        finally:
            process.kill()


def newest_start(settings: dict[str, str]) -> int:
    project = settings["SOURCES__GES_BACKUPS__PROJECT_ID"]
    url = f"{settings['SOURCES__GES_BACKUPS__ENDPOINT']}/v2/{project}/graphs/backups"
    headers = {"X-Auth-Token": settings["SOURCES__GES_BACKUPS__CREDENTIALS__TOKEN"]}
    page = requests.get(url, params={"limit": 1}, headers=headers, timeout=5).json()
    assert len(page["backup_list"]) == 1
    return int(page["backup_list"][0]["start_timestamp"])


@pytest.mark.parametrize("words", [("--speed", "nan"), ("--days-behind", "inf")], ids=" ".join)
def test_what_no_clock_can_do_is_wrong_usage(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(command, ["--port", "0", *words]).exit_code == 2


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_serves_with_the_settings_it_prints_and_ends_without_a_traceback(
    number: signal.Signals, exit_code: int
) -> None:
    with emulate("--order", "new_to_old", "--page-cap", "1", "--speed", "100000") as running:
        process, settings = running
        before = newest_start(settings)
        for _ in range(50):
            time.sleep(0.1)
            if newest_start(settings) > before:
                break
        else:
            pytest.fail("the fleet does not live")
        process.send_signal(number)
        _, stderr = process.communicate(timeout=10)
        assert (process.returncode, stderr) == (exit_code, "")


def test_taken_port_is_said_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        program = (
            "from click.testing import CliRunner\n"
            "from ges_history.commands.emulate import emulate\n"
            f"print(CliRunner().invoke(emulate, ['--port', '{taken.getsockname()[1]}']).exception)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
    assert "cannot be opened" in done.stdout
    assert "--port" in done.stdout
