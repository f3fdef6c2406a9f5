"""The error tree: one base class, and the built-in class that each kind would otherwise be."""

import pytest

from cprs_core import errors

TREE = {
    "InputError": (errors.CprsError, ValueError),
    "BudgetError": (errors.InputError, ValueError),
    "InstructionError": (errors.InputError, ValueError),
    "LimitError": (errors.InputError, ValueError),
    "DataError": (errors.CprsError, ValueError),
    "ModelLoadError": (errors.CprsError, OSError),
    "DeviceError": (errors.CprsError, RuntimeError),
    "OutOfMemoryError": (errors.CprsError, MemoryError),
    "ServiceError": (errors.CprsError, RuntimeError),
    "AuthError": (errors.ServiceError, PermissionError),
    "BusyError": (errors.ServiceError, RuntimeError),
    "DeadlineError": (errors.ServiceError, TimeoutError),
    "MissingExtraError": (errors.CprsError, ImportError),
}


def test_the_tree_is_complete_and_drawn():
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert classes == {*TREE, "CprsError"}
    for name in classes:
        assert name in errors.__doc__


@pytest.mark.parametrize("name", TREE)
def test_each_error_has_its_bases(name):
    for base in TREE[name]:
        assert issubclass(getattr(errors, name), base)


def test_a_missing_extra_gives_the_install_command():
    error = errors.MissingExtraError("langchain-core", "langchain")
    assert "langchain-core is not installed" in str(error)
    assert "pip install 'cprs-core[langchain]'" in str(error)
