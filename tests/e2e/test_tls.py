# SPDX-License-Identifier: Apache-2.0
"""TLS from the sidecar to the store: accepted and rejected peers, error messages, certificate rotation."""

import re
import shutil
import socket
import ssl
import subprocess
import uuid
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from demo.ports import Ports
from demo.processes import environment
from scale import services
from scale.counts import shown
from tests import certificates
from tests.e2e.answers import total_packets
from tests.waiting import answered, settled

QUICK = "exporters::otlp_grpc::retry_on_failure::max_interval: 1s"


@pytest.fixture
def authority(tmp_path):
    """Return a function that makes an authority."""
    return partial(certificates.authority, tmp_path)


def server_settings(certificate, key, client_ca=None):
    settings = {"COLLECTOR_TLS_CERT_FILE": str(certificate), "COLLECTOR_TLS_KEY_FILE": str(key)}
    return settings if client_ca is None else {**settings, "COLLECTOR_TLS_CLIENT_CA_FILE": str(client_ca)}


def client_variables(ca, pair=None):
    variables = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(ca)}
    if pair:
        variables["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"] = str(pair[0])
        variables["OTEL_EXPORTER_OTLP_CLIENT_KEY"] = str(pair[1])
    return variables


def once(tmp_path, counter, port, variables, *, scheme="https", headers=""):
    """Run one cycle; return its exit code and its last line of output."""
    command = [services.SIDECAR, "--map-path", counter.pin, "--once", "--base-point"]
    command += ["--state-dir", tmp_path / "state", "--otel-endpoint", f"{scheme}://localhost:{port}"]
    env = {**environment(), **variables, "OTEL_EXPORTER_OTLP_TIMEOUT": "2000"}
    if headers:
        env["OTEL_EXPORTER_OTLP_HEADERS"] = headers
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr.strip().splitlines()[-1]


@pytest.fixture
def start(tmp_path):
    """Return a function that runs a Collector on localhost and returns its ports."""
    with ExitStack() as cleanup:

        def run(name, files, settings, **options):
            ports = Ports.free()
            made = services.collector(name, tmp_path, ports, files, settings, host="localhost", **options)
            cleanup.enter_context(made)
            return ports

        yield run


@pytest.mark.parametrize("case", ["accepted", "none", "another CA", "another server"])
def test_check_tells_whose_certificate_is_refused(tmp_path, counter, authority, start, case):
    """By the alert that the Collector sends, in TLS 1.3 after the handshake, unless its reset is faster."""
    ours, theirs = authority("ours"), authority("theirs")
    ports = start("agent", ["config.yaml", "tls.yaml"], server_settings(*ours.issue("agent"), ours.ca))
    pair = {"none": None, "another CA": theirs.issue("client")}.get(case, ours.issue("client"))
    variables = client_variables(theirs.ca if case == "another server" else ours.ca, pair)
    command = [services.SIDECAR, "check", "--map-path", counter.pin, "--state-dir", tmp_path / "state"]
    command += ["--otel-endpoint", f"https://localhost:{ports.otlp}"]
    env = {**environment(), **variables}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    lines = [line.partition("(TLS): ")[::2] for line in done.stdout.splitlines() if "(TLS): " in line]
    found = [(line.split()[0], text) for line, text in lines]

    verified = ("ok", f"its certificate is verified by {ours.ca}")
    if case == "accepted":
        expected = [verified, ("ok", f"our certificate {pair[0]} is accepted"), ("ok", "accepts requests")]
        assert (done.returncode, found) == (0, expected), done.stderr
        return
    *before, (word, cause) = found
    assert (done.returncode, before) == (7, [] if case == "another server" else [verified])
    assert word == "failed"
    closed = "it closes the connection after the handshake"
    begin, reason, remedy = {
        "none": ("it may require a certificate of ours", "tlsv13 alert certificate required", "set OTEL_"),
        "another CA": (
            f"it refuses our certificate {pair and pair[0]}",
            "tlsv1 alert unknown ca",
            "have it signed",
        ),
        "another server": (
            "its certificate is not verified",
            "unable to get local issuer certificate",
            "name its CA",
        ),
    }[case]
    assert cause.startswith((f"{begin}: {reason}: {remedy}", f"{begin}: {closed}: {remedy}"))


def test_mutual_tls_all_the_way(tmp_path, counter, authority, start):
    """Sidecar, agent and gateway authenticate each other, and the store gets every count."""
    ours = authority("ours")
    store = Ports.free()
    with services.store(tmp_path, store):
        gateway = start(
            "gateway",
            ["gateway.yaml", "tls.yaml"],
            {
                **server_settings(*ours.issue("gateway"), ours.ca),
                **services.remote_write(store),
            },
        )
        certificate, key = ours.issue("agent")
        agent = start(
            "agent",
            ["agent.yaml", "tls.yaml"],
            {
                **server_settings(certificate, key, ours.ca),
                "COLLECTOR_GATEWAY_ENDPOINT": f"localhost:{gateway.otlp}",
                "COLLECTOR_GATEWAY_CA_FILE": str(ours.ca),
                "COLLECTOR_GATEWAY_CERT_FILE": str(certificate),
                "COLLECTOR_GATEWAY_KEY_FILE": str(key),
            },
        )
        counter.hold()

        code, said = once(tmp_path, counter, agent.otlp, client_variables(ours.ca, ours.issue("sidecar")))

        assert code == 0, said
        assert counter.truth == arrived(store, counter)


# gRPC's messages. In TLS 1.3 the server rejects a client certificate after the client's handshake is done,
# and gRPC does not name the alert.
CASES = {
    "wrong CA": "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate",
    "expired": "CERTIFICATE_VERIFY_FAILED: certificate has expired",
    "another host's": "Hostname Verification Check failed",
    "no client certificate": "Unwrap failed",
    "client of another CA": "Unwrap failed",
    "plaintext": "Socket closed",
    "TLS to a plaintext port": "WRONG_VERSION_NUMBER",
}


@pytest.mark.parametrize("case", CASES)
def test_a_rejected_peer_is_reported(tmp_path, counter, authority, start, case):
    """A wrong or missing certificate on either side gives one line with the reason; the batch is kept."""
    ours, other = authority("ours"), authority("other")
    server = ours.issue(
        "server", days=-1 if case == "expired" else 2, host="elsewhere" if "host" in case else "localhost"
    )
    files = ["config.yaml"] if "plaintext port" in case else ["config.yaml", "tls.yaml"]
    ports = start("collector", files, server_settings(*server, ours.ca))
    clients = {"no client certificate": None, "client of another CA": other.issue("client")}
    pair = clients.get(case, ours.issue("client"))
    variables = client_variables(other.ca if case == "wrong CA" else ours.ca, pair)

    code, said = once(
        tmp_path, counter, ports.otlp, variables, scheme="http" if case == "plaintext" else "https"
    )

    assert code == 7, said
    assert CASES[case] in said


def test_an_agent_that_is_rejected_keeps_its_counts(tmp_path, counter, authority, start):
    """A gateway rejects an agent without a certificate; once it has one, its queue on disk arrives."""
    ours = authority("ours")
    store, agent_ports = Ports.free(), Ports.free()
    with services.store(tmp_path, store):
        gateway = start(
            "gateway",
            ["gateway.yaml", "tls.yaml"],
            {
                **server_settings(*ours.issue("gateway"), ours.ca),
                **services.remote_write(store),
            },
        )
        settings = {
            "COLLECTOR_GATEWAY_ENDPOINT": f"localhost:{gateway.otlp}",
            "COLLECTOR_GATEWAY_CA_FILE": str(ours.ca),
        }
        agent = services.collector(
            "agent", tmp_path, agent_ports, ["agent.yaml"], settings, overrides=[QUICK]
        )
        with agent:
            counter.hold()
            code, said = once(tmp_path, counter, agent_ports.otlp, {}, scheme="http")
            assert code == 0, said
            answered(lambda: is_refused(agent))
            assert not shown(store)
        certificate, key = ours.issue("agent")
        settings |= {"COLLECTOR_GATEWAY_CERT_FILE": str(certificate), "COLLECTOR_GATEWAY_KEY_FILE": str(key)}
        with services.collector("agent", tmp_path, agent_ports, ["agent.yaml"], settings, overrides=[QUICK]):
            assert counter.truth == arrived(store, counter)


def is_refused(agent):
    """Whether the agent logged it; in TLS 1.3 its own first write may fail before the alert arrives."""
    return re.search(r"certificate required|broken pipe|connection reset", agent.log.read_text())


def arrived(store, counter):
    """What the store shows once it is the truth, or the last reading once time is up."""
    return settled(lambda: shown(store), counter.truth)


class Mounted:
    """A directory whose files are replaced atomically, as the kubelet does with a Secret."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()

    def put(self, **files):
        version = self.directory / uuid.uuid4().hex
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
            link = self.directory / name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / name)
        current = self.directory / "..data"
        old = current.resolve() if current.is_symlink() else None
        (self.directory / "..new").symlink_to(version.name)
        (self.directory / "..new").replace(current)
        if old:
            shutil.rmtree(old)

    def __getitem__(self, name):
        return str(self.directory / name)


def test_certificates_are_rotated_at_runtime(tmp_path, counter, authority, start):
    """All certificates and both authorities are replaced without a restart or a loss."""
    old, new = authority("old"), authority("new")
    server, client = Mounted(tmp_path / "server"), Mounted(tmp_path / "client")

    def put(by, *trusted):
        ca = b"".join(authority.ca.read_bytes() for authority in trusted)
        for mounted in (server, client):
            pair = by.issue(uuid.uuid4().hex)
            mounted.put(crt=pair[0].read_bytes(), key=pair[1].read_bytes(), ca=ca)

    put(old, old)
    ports = start(
        "collector",
        ["config.yaml", "tls.yaml"],
        server_settings(server["crt"], server["key"], server["ca"]),
        overrides=["receivers::otlp::protocols::grpc::tls::reload_interval: 1s"],
    )
    variables = client_variables(client["ca"], (client["crt"], client["key"]))
    endpoint = f"https://localhost:{ports.otlp}"
    with services.sidecar(tmp_path, counter.pin, endpoint, "--base-point", settings=variables):
        wait_for_more(ports)
        # Both authorities are trusted before a certificate of the new one is used.
        put(old, old, new)
        answered(lambda: serves_certificate_of(ports, old, new.issue("probe")))
        wait_for_more(ports)
        put(new, old, new)
        answered(lambda: serves_certificate_of(ports, new, old.issue("probe")))
        wait_for_more(ports)
        put(new, new)
        # Now certificates of the old authority are rejected, those of the new one accepted.
        answered(lambda: not serves_certificate_of(ports, new, old.issue("probe")))
        assert serves_certificate_of(ports, new, new.issue("probe"))
        wait_for_more(ports)
        counter.hold()

        assert counter.truth["total_packets"] == settled(
            lambda: total_packets(ports), counter.truth["total_packets"]
        )

    log = (tmp_path / "sidecar.log").read_text()
    assert "not acknowledged" not in log


def test_an_agent_uses_its_new_certificate(tmp_path, counter, authority, start):
    """After its certificate is replaced on disk, it uses the new one with a gateway that trusts no other."""
    old, new = authority("old"), authority("new")
    store, gateway_ports = Ports.free(), Ports.free()
    mounted = Mounted(tmp_path / "agent")

    def put(by):
        pair = by.issue("agent")
        mounted.put(crt=pair[0].read_bytes(), key=pair[1].read_bytes())

    def gateway(trusted):
        settings = {
            **server_settings(*old.issue("gateway"), trusted.ca),
            **services.remote_write(store),
        }
        files = ["gateway.yaml", "tls.yaml"]
        return services.collector("gateway", tmp_path, gateway_ports, files, settings, host="localhost")

    put(old)
    with services.store(tmp_path, store):
        agent = start(
            "agent",
            ["agent.yaml"],
            {
                "COLLECTOR_GATEWAY_ENDPOINT": f"localhost:{gateway_ports.otlp}",
                "COLLECTOR_GATEWAY_CA_FILE": str(old.ca),
                "COLLECTOR_GATEWAY_CERT_FILE": mounted["crt"],
                "COLLECTOR_GATEWAY_KEY_FILE": mounted["key"],
            },
            overrides=[QUICK, "exporters::otlp_grpc::tls::reload_interval: 1s"],
        )
        with services.sidecar(tmp_path, counter.pin, f"localhost:{agent.otlp}", "--base-point"):
            with gateway(old):
                answered(lambda: shown(store))
            put(new)
            with gateway(new):
                counter.hold()

                assert counter.truth == arrived(store, counter)


def serves_certificate_of(ports, authority, pair):
    """Whether the server accepts a TLS client that trusts this authority and uses this pair."""
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(*pair)
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(("localhost", ports.otlp), timeout=5) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as connection,
        ):
            # In TLS 1.3 the server rejects a client after the client's handshake is done.
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            return bool(connection.recv(1))
    except (ssl.SSLError, ConnectionError):
        return False


def wait_for_more(ports):
    """Fail unless new counts arrive."""
    before = total_packets(ports)
    answered(lambda: total_packets(ports) > before)


@pytest.mark.parametrize("token", ["right", "wrong", ""])
def test_token(tmp_path, counter, authority, start, token):
    """With token.yaml, only requests with one of the tokens are accepted."""
    ours = authority("ours")
    tokens = tmp_path / "tokens"
    tokens.write_text("another  # of the second fleet\nright\n")
    ports = start(
        "collector",
        ["config.yaml", "tls.yaml", "token.yaml"],
        {**server_settings(*ours.issue("server")), "COLLECTOR_TOKEN_FILE": str(tokens)},
    )
    counter.hold()

    header = f"authorization=Bearer%20{token}" if token else ""
    code, said = once(tmp_path, counter, ports.otlp, client_variables(ours.ca), headers=header)

    if token == "right":  # noqa: S105
        assert code == 0, said
        assert counter.truth["total_packets"] == total_packets(ports)
    else:
        assert (code, total_packets(ports)) == (7, 0), said
        assert "UNAUTHENTICATED" in said
        assert "wrong" not in said
