"""What mails say: templates with `$name` where a value goes, text and HTML of each.

They are files, and an operator may put others of the same names into a directory. The first line
of a text is the mail's subject. `string.Template` does all that is needed, and costs nothing;
values are escaped for HTML here, so that no template can forget to.
"""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from string import Template

SUBJECT = "Subject:"


@dataclass(frozen=True, slots=True)
class Content:
    """What a mail says, in both forms; both end in a newline."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a mail that has been rendered, in both forms."""

    text: str
    html: str


Values = Mapping[str, str | Part]
"""Values by name; a plain string is escaped where it goes into HTML."""


class Templates:
    """The built-in templates, with those of a directory in their place."""

    def __init__(self, directory: Path, server: str) -> None:
        self._directory = directory
        self._server = server

    def render(self, name: str, values: Values) -> Content:
        """A mail. Raises `KeyError` for a template that wants a value that there is none of."""
        part = self.render_part(name, values)
        first, _, text = part.text.partition("\n")
        subject = " ".join(first.removeprefix(SUBJECT).split())
        layout = self._template("layout.html")
        body = layout.substitute(subject=html.escape(subject), body=part.html)
        return Content(subject, text.lstrip("\n"), body)

    def render_part(self, name: str, values: Values) -> Part:
        """A piece of a mail. Raises as `render` does."""
        texts = {key: v.text if isinstance(v, Part) else v for key, v in values.items()}
        escaped = {
            key: v.html if isinstance(v, Part) else html.escape(v) for key, v in values.items()
        }
        server = {"server": self._server}
        return Part(
            self._template(f"{name}.txt").substitute(server | texts),
            self._template(f"{name}.html").substitute(
                {"server": html.escape(self._server)} | escaped
            ),
        )

    def _template(self, file_name: str) -> Template:
        path = self._directory / file_name
        if path.is_file():
            return Template(path.read_text("utf-8"))
        return Template(built_in(file_name))


@cache
def built_in(file_name: str) -> str:
    """The text of a built-in template."""
    return (resources.files("homeserver.mail") / "texts" / file_name).read_text("utf-8")
