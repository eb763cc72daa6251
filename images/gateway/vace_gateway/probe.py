"""``python -m vace_gateway.probe``: exit status 0 when the gateway in this container is alive.

Asks ``/healthz`` on the listener that the environment configures. The certificate is not verified:
the probe talks to its own container over loopback and asks only whether the process answers.
"""

from __future__ import annotations

import http.client
import ssl
import sys

from vace_gateway.errors import SettingsError
from vace_gateway.settings import Address, Settings

TIMEOUT_SECONDS = 4
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound


def main() -> int:
    """Probe once; says why on stderr when the answer is no."""
    try:
        settings = Settings.from_environment()
        if settings.tls_listen is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                *_target(settings.tls_listen), timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            connection = http.client.HTTPConnection(
                *_target(settings.plain_listen or Address("127.0.0.1", 80)),
                timeout=TIMEOUT_SECONDS,
            )
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (SettingsError, OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"not alive: {error}\n")
        return 1
    return 0 if status == 200 else 1


def _target(address: Address) -> tuple[str, int]:
    return _ANY.get(address.host, address.host), address.port


if __name__ == "__main__":
    sys.exit(main())
