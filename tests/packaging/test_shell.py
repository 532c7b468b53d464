"""Shell scripts, ours and the stand-ins of tests: plain sh, and nothing that shellcheck minds."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ENTRY_POINTS = sorted((REPOSITORY / "docker").glob("*/*.sh"))
PARTS = sorted((REPOSITORY / "docker" / "setup").glob("*.sh"))
LIST = REPOSITORY / "docker" / "setup" / "parts.sh"
PROGRAMS = [path for path in ENTRY_POINTS if path.parent.name != "setup"]
STAND_INS = [
    path
    for platform in ("openwrt", "debian")
    for path in sorted((Path(__file__).parent / platform).iterdir())
]


def is_run(script: Path) -> bool:
    """Whether this is a program, and not a part that programs source."""
    return script.read_text().startswith("#!")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    # What is sourced is looked at together with what sources it.
    for script in [path for path in ENTRY_POINTS if is_run(path)] + STAND_INS:
        command = ["shellcheck", "--shell=sh", "-x", "-a", str(script)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("shell", [["dash"], ["busybox", "ash"]], ids=" ".join)
def test_other_shells_understand_them(shell: list[str]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    for script in ENTRY_POINTS:
        subprocess.run([*shell, "-n", str(script)], check=True)


def test_programs_source_the_parts_by_the_one_list_of_them() -> None:
    sourced = re.compile(r'^\. "\$SETUP/(.+)"$', re.MULTILINE)
    for program in PROGRAMS:
        assert sourced.findall(program.read_text()) == [LIST.name], program
    parts = {path.name for path in PARTS if path != LIST and not is_run(path)}
    listed = sourced.findall(LIST.read_text())
    assert set(listed) == parts
    assert len(listed) == len(parts)
