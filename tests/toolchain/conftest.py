"""The provisioned tools, for tests that need the real engine."""

import pytest

from rehearsal.toolchain.provision import provision
from rehearsal.toolchain.result import Toolchain


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    """What `make toolchain` provides; silent and fast when it has run before."""
    return provision()
