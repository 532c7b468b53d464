"""The image's `sh` runs one command for PostgreSQL's `initdb`, and is no shell."""

import subprocess
import sys
from pathlib import Path

import pytest

SH = Path(__file__).parents[2] / "docker" / "rootfs" / "usr" / "bin" / "sh"


def run(command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, SH, "-c", command], capture_output=True, text=True, check=False
    )


def test_a_command_runs_with_its_words() -> None:
    done = run('"/bin/echo" --boot "two words" \'single "quotes"\' -c x=1')
    assert done.stdout == '--boot two words single "quotes" -c x=1\n'


def test_the_status_of_the_command_is_kept() -> None:
    assert run("/bin/false").returncode == 1


def test_input_and_output_are_files(tmp_path: Path) -> None:
    source, target = tmp_path / "in put", tmp_path / "output"
    source.write_text("text")
    assert run(f'/bin/cat < "{source}" > "{target}" 2>&1').stdout == ""
    assert target.read_text() == "text"
    run(f'/bin/cat "{tmp_path}/missing" >> "{target}" 2>&1')
    assert "No such file" in target.read_text()


def test_a_program_that_is_not_there_ends_as_in_a_shell() -> None:
    done = run("/no/such/program -V")
    assert done.returncode == 127
    assert "/no/such/program" in done.stderr


@pytest.mark.parametrize(
    "command", ["echo a; echo b", "echo a | cat", "echo a && echo b", "(echo a)", "echo a &", ""]
)
def test_what_only_a_shell_does_is_refused(command: str) -> None:
    done = run(command)
    assert done.returncode == 1
    assert "no shell" in done.stderr
    assert done.stdout == ""


def test_variables_are_words_like_others() -> None:
    assert run('/bin/echo "$HOME" `id`').stdout == "$HOME `id`\n"


def test_it_is_not_interactive() -> None:
    done = subprocess.run([sys.executable, SH], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no shell" in done.stderr
