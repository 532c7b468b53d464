"""Handing mail to a real mail server."""

import asyncio
import ssl
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeserver.config.sections.mail import Mail
from homeserver.mail.mailer import Mailer, MailNotSent
from tests.homeserver.mail.mail_server import MailServer, mail_server
from tests.homeserver.server_process import ROOT


def mailer_to(server: MailServer, **settings: Any) -> Mailer:
    mail = Mail(host="127.0.0.1", port=server.port, security="none")
    return Mailer(replace(mail, **settings), "hs.test:8448", ssl.create_default_context)


async def test_a_mail_has_a_text_and_html_and_says_that_nobody_wrote_it() -> None:
    async with mail_server() as server:
        await mailer_to(server).send("bob@example.org", "test", {}, {"X-Extra": "1"})
        mail = await server.next()
    assert mail.recipients == ["bob@example.org"]
    assert mail.sender == "noreply@hs.test"
    assert mail.subject == "Mail from hs.test:8448"
    assert "can send mail" in mail.text
    assert "<b>hs.test:8448</b>" in mail.html
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message["X-Extra"] == "1"
    assert mail.message["Message-ID"].endswith("@hs.test>")


async def test_values_are_escaped_in_html_and_subjects_have_one_line() -> None:
    mailer = Mailer(Mail(), "hs", ssl.create_default_context)
    rendered = mailer.templates.render(
        "digest", {"summary": "a\r\nBcc: b", "rooms": "<script>", "unsubscribe": 'x"'}
    )
    assert rendered.subject == "a"
    assert "<script>" not in rendered.html
    assert "&lt;script&gt;" in rendered.html
    assert 'href="x&quot;"' in rendered.html
    assert "<script>" in rendered.text


async def test_templates_of_the_operator_go_first(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("Subject: Post von $server\n\nHallo\n")
    async with mail_server() as server:
        mailer = mailer_to(server, templates=tmp_path, sender="Wir <wir@example.org>")
        await mailer.send("bob@example.org", "test", {})
        mail = await server.next()
    assert (mail.subject, mail.text.strip()) == ("Post von hs.test:8448", "Hallo")
    assert "can send mail" in mail.html
    assert mail.message["From"] == "Wir <wir@example.org>"


async def test_the_server_logs_in_where_it_has_a_name() -> None:
    async with mail_server(auth_require_tls=False) as server:
        await mailer_to(server, username="hearth", password="right").send("b@x.org", "test", {})
        assert server.logins == [("hearth", "right")]
        with pytest.raises(MailNotSent):
            await mailer_to(server, username="hearth", password="wrong").send("b@x.org", "test", {})


async def test_a_mail_server_can_be_tried_without_a_mail() -> None:
    async with mail_server(auth_require_tls=False) as server:
        await mailer_to(server).check()
        with pytest.raises(MailNotSent):
            await mailer_to(server, username="hearth", password="wrong").check()
        assert server.arrived.empty()
    with pytest.raises(MailNotSent):
        await mailer_to(server).check()


async def test_the_command_sends_a_mail(tmp_path: Path) -> None:
    config = tmp_path / "hearth.toml"
    async with mail_server() as server:
        text = f"""
            [server]
            name = "hs.test"
            public_baseurl = "https://hs.test"
            [mail]
            host = "127.0.0.1"
            port = {server.port}
            security = "none"
        """
        config.write_text(text)
        command = ("-m", "homeserver", "mail", "test", "bob@example.org", "--config", str(config))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        out, _ = await process.communicate()
        assert (process.returncode, out.decode()) == (
            0,
            "127.0.0.1 has taken a mail to bob@example.org.\n",
        )
        assert (await server.next()).recipients == ["bob@example.org"]


async def test_what_the_mail_server_refuses_is_not_sent() -> None:
    async with mail_server() as server:
        server.refusal = "451 later"
        with pytest.raises(MailNotSent) as caught:
            await mailer_to(server).send("b@x.org", "test", {})
    assert not caught.value.is_final
    assert "later" in caught.value.reason
    with pytest.raises(MailNotSent):
        await mailer_to(server).send("b@x.org", "test", {})


async def test_nothing_goes_in_clear_text_to_a_server_without_tls() -> None:
    async with mail_server() as server:
        with pytest.raises(MailNotSent):
            await mailer_to(server, security="starttls").send("b@x.org", "test", {})
        assert server.arrived.empty()


async def test_without_a_mail_server_nothing_is_sent() -> None:
    mailer = Mailer(Mail(), "hs", ssl.create_default_context)
    assert not mailer.is_configured
    with pytest.raises(MailNotSent):
        await mailer.send("b@x.org", "test", {})
