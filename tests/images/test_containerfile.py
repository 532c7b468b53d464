"""docker/Containerfile runs what it builds just as the images of `make images` run."""

import json
import re
from pathlib import Path

from imagebuilder.oci import SECOND, config_of, environment_lines
from imagebuilder.workshop import RUNNING

TEXT = (Path(__file__).parents[2] / "docker" / "Containerfile").read_text()
CONFIG = config_of(RUNNING, {})


def instruction(name: str) -> str:
    """What the only instruction of this name says, on one line."""
    (said,) = re.findall(rf"^{name} ((?:.*\\\n)*.*)$", TEXT, re.MULTILINE)
    return " ".join(said.replace("\\\n", " ").split())


def test_the_environment_is_the_same() -> None:
    assert instruction("ENV").split(" ") == environment_lines(RUNNING.environment)


def test_the_program_and_its_user_are_the_same() -> None:
    assert json.loads(instruction("ENTRYPOINT")) == CONFIG["Entrypoint"]
    assert json.loads(instruction("CMD")) == CONFIG["Cmd"]
    assert instruction("USER") == CONFIG["User"]
    assert instruction("STOPSIGNAL") == CONFIG["StopSignal"]
    assert set(instruction("EXPOSE").split()) == CONFIG["ExposedPorts"].keys()


def test_health_is_asked_for_in_the_same_way() -> None:
    options, _, command = instruction("HEALTHCHECK").partition(" CMD ")
    health = CONFIG["Healthcheck"]
    assert ["CMD", *json.loads(command)] == health["Test"]
    told = dict(option.removeprefix("--").split("=") for option in options.split())
    assert told == {
        "interval": f"{health['Interval'] // SECOND}s",
        "timeout": f"{health['Timeout'] // SECOND}s",
        "start-period": f"{health['StartPeriod'] // SECOND}s",
        "retries": str(health["Retries"]),
    }
