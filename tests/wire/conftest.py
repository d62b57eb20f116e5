# SPDX-License-Identifier: Apache-2.0
"""Wire tests: the real daemon with a tiny model, driven byte by byte over loopback."""

import pytest

from rig import serve


@pytest.fixture(scope="session")
def server():
    """An open server with the defaults of a deployment, but for small time limits of idle sockets."""
    with serve("limits.queue_size=512", "scheduler.max_seqs=64") as s:
        yield s
        assert s.alive(), "the server died during the tests"
