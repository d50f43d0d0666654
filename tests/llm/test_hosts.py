from __future__ import annotations

import pytest

from clsgen.errors import ConfigError, RestrictedError
from clsgen.llm.hosts import check_host, host_of, is_loopback


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://localhost:8000/v1", "localhost"),
        ("HTTPS://LLM.Hospital.Example/openai/v1/", "llm.hospital.example"),
        ("http://127.0.0.1", "127.0.0.1"),
        ("http://[::1]:11434/v1", "::1"),
        ("https://example.org/v1/projects/p:1/~a", "example.org"),
    ],
)
def test_the_host_of_a_plain_address(endpoint: str, host: str) -> None:
    assert host_of(endpoint) == host


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:8000",
        "ftp://localhost",
        "http://",
        "",
        "http://localhost:port",
        "http://local host",
        "http://localhost/v1\n",
        "http://user:sk-secret@localhost",
        "http://localhost/v1?key=sk-secret",
        "http://localhost/v1#sk-secret",
        "http://localhost\\@example.org",
        "http://127.0.0.1@example.org",
        "http://[::1%eth0]",
        "http://localho\u017ft",  # a long s, which folds to s
        "http://\uff11\uff12\uff17.0.0.1",
    ],
)
def test_an_address_that_two_readers_may_read_differently_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"endpoint: the address must be http\(s\)://host") as caught:
        host_of(endpoint)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("localhost", True),
        ("128.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("127.1", False),
        ("2130706433", False),
        ("localhost.localdomain", False),
        ("localhost.", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_loopback_is_an_address_or_the_name_localhost(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


@pytest.mark.parametrize("endpoint", ["https://api.example.com/v1", "http://0.0.0.0:8000/v1", "http://10.0.0.1/v1"])
def test_restricted_texts_stay_on_this_machine(endpoint: str) -> None:
    check_host(endpoint, is_restricted=False)
    with pytest.raises(RestrictedError, match="the host of a restricted task must be this machine .* or a host that"):
        check_host(endpoint, is_restricted=True)


def test_restricted_texts_go_to_hosts_that_are_named() -> None:
    check_host("http://localhost:8000/v1", is_restricted=True)
    check_host("https://LLM.hospital.example/v1", is_restricted=True, allowed=["llm.Hospital.example"])
    check_host("http://[fd00::5]/v1", is_restricted=True, allowed=["[fd00::5]"])
    for other in ("hospital.example", "x.llm.hospital.example", "llm.hospital.example.org"):
        with pytest.raises(RestrictedError, match=f"got '{other}'"):
            check_host(f"https://{other}/v1", is_restricted=True, allowed=["llm.hospital.example"])
