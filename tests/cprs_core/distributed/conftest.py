"""What the tests of distributed work share."""

import pytest

from cprs_core.distributed import BatchCompressor

from .helpers import ASKED


@pytest.fixture
def batch(compressor):
    """What compresses rows in this process, with options changed."""
    return lambda **options: BatchCompressor(**{**ASKED, "load": lambda: compressor, **options})
