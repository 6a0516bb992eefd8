# SPDX-License-Identifier: Apache-2.0
"""The admin API over TCP: who may, and who finds out that they may not."""

from __future__ import annotations

import grp
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from local_node import GIB, Node, eventually, listening

from flexnpu.api.tokens import make
from flexnpu.client import Client, Endpoint
from flexnpu.errors import DaemonError, Forbidden, InvalidValue, NoDaemon, TooManyRequests, Unauthenticated


class Remote:
    """A certificate authority, a token of each scope, and a daemon that listens with them."""

    def __init__(self, node: Node, root: Path) -> None:
        self.node, self.root = node, root
        self.tokens = {scope: make(scope, scope) for scope in ("read", "write")}
        self.token_file = root / "tokens"
        self.write_tokens("read", "write")
        for scope, (token, _) in self.tokens.items():
            (root / f"{scope}.token").write_text(token + "\n")
        self.ca = self._certificate("ca", "-x509", "-addext", "basicConstraints=critical,CA:TRUE")
        self._signed("server", "subjectAltName=IP:127.0.0.1")
        self._signed("operator", "extendedKeyUsage=clientAuth")
        (root / "both.pem").write_text((root / "operator.pem").read_text() + (root / "operator.key").read_text())

    def write_tokens(self, *scopes: str) -> None:
        self.token_file.write_text("# who may\n\n" + "\n".join(self.tokens[scope][1] for scope in scopes))
        self.token_file.chmod(0o600)

    def start(self, *options: str) -> None:
        tls = ("--tls-cert", str(self.root / "server.pem"), "--tls-key", str(self.root / "server.key"))
        self.url = listening(self.node, "--listen", "127.0.0.1:0", *tls, *options)

    def client(self, scope: str | None = None, *, certificate: bool = False) -> Client:
        token = self.root / f"{scope}.token" if scope else None
        cert = self.root / "both.pem" if certificate else None
        return Client(endpoint=Endpoint(url=self.url, token_file=token, ca_file=self.ca, cert_file=cert))

    def _certificate(self, name: str, *options: str) -> Path:
        key, pem = self.root / f"{name}.key", self.root / f"{name}.pem"
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}")
        openssl("req", *new, "-keyout", str(key), "-out", str(pem), *options)
        return pem

    def _signed(self, name: str, extension: str) -> None:
        request = self._certificate(name)
        (self.root / "extension").write_text(extension)
        by = ("-CA", str(self.ca), "-CAkey", str(self.root / "ca.key"), "-CAcreateserial")
        extra = ("-extfile", str(self.root / "extension"), "-days", "2")
        signed = self.root / f"{name}.signed"
        openssl("x509", "-req", "-in", str(request), *by, *extra, "-out", str(signed))
        signed.rename(request)


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def remote(quiet_node: Node, tmp_path: Path) -> Iterator[Remote]:
    yield Remote(quiet_node, tmp_path)


def test_a_token_reads_or_writes_as_its_scope_says_until_it_is_taken_away(remote: Remote):
    remote.start("--tokens", str(remote.token_file))
    writer, reader = remote.client("write"), remote.client("read")
    writer.create_vnpu("a", cores=4, memory_bytes=GIB)
    assert [vnpu.name for vnpu in reader.vnpus()] == ["a"]
    with pytest.raises(Forbidden, match="token read may read"):
        reader.set_quota("a", cores=6)
    with pytest.raises(Unauthenticated):
        remote.client().vnpus()
    told = remote.client("write").events()
    assert next(told).kind == "created"
    # Taken away while the daemon runs; a file that cannot be used changes nothing.
    assert remote.node.daemon is not None
    remote.token_file.write_text("nonsense")
    remote.node.daemon.process.send_signal(signal.SIGHUP)
    assert reader.vnpus()
    remote.write_tokens("read")
    remote.node.daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: _is_refused(writer))
    remote.node.client().delete_vnpu("a")
    assert list(told) == []
    assert reader.vnpus() == []


def test_a_client_certificate_of_the_authority_may_do_everything(remote: Remote):
    remote.start("--client-ca", str(remote.ca))
    remote.client(certificate=True).create_vnpu("a", cores=4, memory_bytes=GIB)
    with pytest.raises(DaemonError):
        remote.client().vnpus()
    assert '"certificate": "operator"' in _audit_line(remote.node)


def test_a_daemon_that_is_not_the_one_of_the_authority_is_not_spoken_to(remote: Remote):
    remote.start("--tokens", str(remote.token_file))
    endpoint = Endpoint(url=remote.url, token_file=remote.root / "write.token")
    with pytest.raises(NoDaemon, match="FLEXNPU_CA_FILE"):
        Client(endpoint=endpoint).vnpus()


def test_the_commands_speak_to_a_daemon_elsewhere(remote: Remote):
    remote.start("--tokens", str(remote.token_file))
    environment = {"FLEXNPU_URL": remote.url, "FLEXNPU_TOKEN_FILE": str(remote.root / "write.token")}
    remote.node.env.update(environment, FLEXNPU_CA_FILE=str(remote.ca))
    code, out, errors = remote.node.flexnpu("create", "a", "--cores", "4", "--memory", "1GiB")
    assert (code, out) == (0, "created a: 4 cores, 1 GiB on device 0\n"), errors
    wrong = ("--token-file", str(remote.root / "read.token"), "delete", "a")
    code, _, errors = remote.node.flexnpu(*wrong)
    assert code == 3
    assert "flexnpu token" in errors
    code, _, errors = remote.node.flexnpu("run", "--cores", "4", "--memory", "1GiB", "--", "true")
    assert code == 2
    assert "its runtime directory" in errors


def test_who_guesses_is_stopped_and_the_others_are_not(remote: Remote):
    remote.start("--tokens", str(remote.token_file))
    guesses = httpx.Client(base_url=remote.url, verify=ssl.create_default_context(cafile=remote.ca))
    answers = [
        guesses.get("/api/v1/vnpus", headers={"Authorization": f"Bearer guess{number}"}).status_code
        for number in range(30)
    ]
    assert set(answers) == {401, 429}
    assert remote.client("read").vnpus() == []


def test_who_asks_too_often_is_told_when_to_ask_again(quiet_node: Node):
    quiet_node.start("--rate-limit", "5")
    with quiet_node.client() as client, pytest.raises(TooManyRequests, match="5 times a second"):
        for _ in range(500):
            client.version()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--listen", "0.0.0.0:0"), "--insecure-listen"),
        (("--listen", "127.0.0.1:0"), "would not know who asks"),
        (("--listen", "0.0.0.0:0", "--tokens", "TOKENS"), "would show tokens to others"),
        (("--listen", "127.0.0.1"), "HOST:PORT"),
        (("--listen", "127.0.0.1:0", "--client-ca", "CA"), "needs TLS"),
        (("--listen", "127.0.0.1:0", "--tokens", "CA"), "not NAME read|write"),
        (
            ("--listen", "127.0.0.1:0", "--tokens", "TOKENS", "--tls-cert", "CA", "--tls-key", "TOKENS"),
            "cannot be used",
        ),
        (("--tokens", "TOKENS"), "is for --listen"),
        (("--admin-group", "no such group"), "is not a group"),
    ],
)
def test_what_would_be_open_to_others_is_refused(remote: Remote, options: tuple[str, ...], words: str):
    files = {"TOKENS": str(remote.token_file), "CA": str(remote.ca)}
    code, errors = remote.node.launch(*(files.get(each, each) for each in options)).end()
    assert code == 2
    assert words in errors
    assert errors.count("\n") == 1
    assert not remote.node.root.exists()


def test_an_open_listener_on_loopback_answers_nobody_who_was_sent_by_a_web_page(quiet_node: Node):
    url = listening(quiet_node, "--listen", "127.0.0.1:0", "--insecure-listen")
    assert httpx.get(f"{url}/api/v1/vnpus").status_code == 200
    sent = httpx.get(f"{url}/api/v1/vnpus", headers={"Host": "rebound.example"})
    assert sent.status_code == 403
    # What a page may send without asking first is no JSON.
    form = httpx.post(f"{url}/api/v1/rebalances", content='{"moves": []}', headers={"Content-Type": "text/plain"})
    assert form.status_code == 422


def test_a_connection_that_asks_nothing_is_closed(quiet_node: Node):
    url = listening(quiet_node, "--listen", "127.0.0.1:0", "--insecure-listen")
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as silent:
        assert silent.recv(1) == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
def test_a_group_may_use_the_admin_socket_and_nothing_else_of_the_directory(quiet_node: Node):
    group = grp.getgrgid(100)
    quiet_node.root.parent.chmod(0o711)
    quiet_node.start("--admin-group", group.gr_name)
    asked = ["curl", "-s", "--unix-socket", str(quiet_node.root / "admin.sock"), "http://d/api/v1/vnpus"]
    nobody = {"user": 65534, "group": 65534, "capture_output": True, "text": True}
    member = subprocess.run(asked, extra_groups=[group.gr_gid], check=False, **nobody)
    assert '"items":[]' in member.stdout
    primary = subprocess.run(asked, extra_groups=[], check=False, **{**nobody, "group": group.gr_gid})
    assert '"items":[]' in primary.stdout
    assert subprocess.run(asked, extra_groups=[], check=False, **nobody).returncode == 7  # it cannot connect
    for name in ("attach.sock", "registry.sqlite", "softnpu"):
        tried = subprocess.run(
            ["head", "-c", "1", str(quiet_node.root / name)], extra_groups=[group.gr_gid], check=False, **nobody
        )
        assert "Permission denied" in tried.stderr


def test_a_token_is_not_sent_in_the_clear(tmp_path: Path):
    (tmp_path / "token").write_text("secret")
    with pytest.raises(InvalidValue, match="show the token"):
        Client(endpoint=Endpoint(url="http://10.0.0.1:8443", token_file=tmp_path / "token"))


def _is_refused(client: Client) -> bool:
    try:
        client.vnpus()
    except Unauthenticated:
        return True
    return False


def _audit_line(node: Node) -> str:
    assert node.daemon is not None
    assert node.daemon.process.stderr is not None
    while line := node.daemon.process.stderr.readline():
        if "audit {" in line:
            return line
    raise AssertionError("no audit line")
