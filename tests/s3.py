"""A local server that speaks S3, for the tests, with a bucket for each."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer

from hud._core.ids import new_id

KEY = "tester"
SECRET = "a-secret-of-the-tests"


@dataclass(frozen=True)
class S3Server:
    """A running server; `environ` is what a client needs to reach it and no other."""

    endpoint: str

    @property
    def environ(self) -> Mapping[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }

    def make_bucket(self) -> str:
        """Make a bucket and return its name."""
        name = f"bucket-{new_id()}"
        with urlopen(Request(f"{self.endpoint}/{name}", method="PUT"), timeout=60):
            return name


@contextmanager
def running_s3() -> Generator[S3Server]:
    """Start a server on a loopback port, and stop it at the end."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()
