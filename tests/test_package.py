# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

import spinefinder_fast

HEAVY = ("torch", "itk", "matplotlib", "pydicom", "scipy")


def modules_after(code):
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_light():
    assert not modules_after("import spinefinder_fast").intersection(HEAVY)


def test_help_is_light():
    code = "from typer.testing import CliRunner\nfrom spinefinder_fast.cli import app\n"
    commands = ("", "predict", "train", "ablate", "evaluate", "phantom", "dataset", "dataset check", "dataset import")
    for command in commands:
        code += f"assert CliRunner().invoke(app, {[*command.split(), '--help']}).exit_code == 0\n"
    assert not modules_after(code).intersection(HEAVY)


@pytest.mark.parametrize("name", spinefinder_fast.__all__)
def test_every_public_name_exists_and_is_documented(name):
    value = getattr(spinefinder_fast, name)
    assert name in dir(spinefinder_fast)
    assert name == "__version__" or value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = spinefinder_fast.nothing
