"""Without a framework, its module says how to get it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["haystack", "litellm"])
def test_the_install_command_is_named(name):
    code = f"import sys; sys.modules[{name!r}] = None; import cprs_core.integrations.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and f"pip install 'cprs-core[{name}]'" in done.stderr
