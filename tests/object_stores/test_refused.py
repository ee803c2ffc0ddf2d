"""A store that can't be used ends the run with one sentence; credentials are in no output and no object."""

from __future__ import annotations

import subprocess

import pytest

from tests import cli
from tests.cluster.head import free_ports
from tests.object_stores.conftest import Base, Command, fresh
from tests.object_stores.content import Content
from tests.object_stores.proxy import Proxy
from tests.object_stores.server import ACCESS_KEY, SECRET_KEY

SECRETS = (ACCESS_KEY, SECRET_KEY, "Signature=", "AWS4-HMAC")
WRONG = {"AWS_ACCESS_KEY_ID": "SOMEONEELSESKEY", "AWS_SECRET_ACCESS_KEY": "someone/else's+secret"}


def one_sentence(done: subprocess.CompletedProcess[str], url: str, *words: str) -> None:
    """The last line of standard error says what is wrong with ``url``, with ``words``; no traceback."""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for word in (url, *words):
        assert word in last, last
    assert "Traceback" not in done.stderr
    for secret in (*SECRETS, *WRONG.values()):
        assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize("action", [[], ["--plan"]])
def test_wrong_credentials(action: list[str], command: Command, base: Base, proxy: Proxy) -> None:
    done = cli.run(*command(base.url, *action), code=5, **WRONG)
    one_sentence(done, base.url, "check the credentials", "--set store=")
    assert len(proxy.requests) < 5, "no patience with what will not pass"


def test_no_credentials(command: Command, base: Base, proxy: Proxy) -> None:
    """Nothing in the environment, no file of settings, no machine that has a role."""
    nothing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    one_sentence(cli.run(*command(base.url), code=5, **nothing), base.url, "check the credentials")


@pytest.mark.parametrize("action", [[], ["--status"], ["--gc"]])
def test_no_such_bucket(action: list[str], command: Command, proxy: Proxy) -> None:
    url = "s3://tubeflow-no-such-bucket/store"
    one_sentence(cli.run(*command(url, *action), code=5), url, "bucket", "--set store=")


def test_a_store_that_is_down(command: Command) -> None:
    url, (port,) = fresh(), free_ports(1)
    # less patience than by default, which is half a minute
    few = {"FSSPEC_S3": '{"config_kwargs": {"retries": {"max_attempts": 0}}}'}
    done = cli.run(*command(url), code=5, AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{port}", **few)
    one_sentence(done, url, "the same command goes on")


def test_credentials_are_in_no_output_and_in_no_object(
    command: Command, url: str, content: Content, proxy: Proxy
) -> None:
    done = cli.run(*command(url, "--debug"))
    shown = [("stdout", done.stdout.encode()), ("stderr", done.stderr.encode()), *content.texts()]
    assert len(shown) > 20
    for name, text in shown:
        for secret in SECRETS:
            assert secret.encode() not in text, f"{secret} in {name}"
