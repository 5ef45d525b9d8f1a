"""What a folder's code declares is read without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud.packaging.declared import declared_name


def test_a_file_that_is_not_python_is_said_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "env.py"
    file.write_text('from hud import Environment\nenv = Environment("half"\n')
    with pytest.raises(InputError, match=r"env\.py line 2 is not Python"):
        declared_name([file], None, tmp_path)


def test_a_broken_file_beside_the_one_that_declares_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "env.py").write_text('from hud import Environment\nenv = Environment("whole")\n')
    (tmp_path / "template.py").write_text("{{ not python }}}\n")
    assert declared_name(sorted(tmp_path.glob("*.py")), None, tmp_path) == "whole"
