"""The wheel of this very hud, and the hold on its names."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from hud._version import __version__
from hud.packaging.wheel import foreign_owner, hold_names, own_wheel


def test_the_wheel_is_the_same_every_time_and_holds_no_web_pages(tmp_path: Path) -> None:
    one, two = own_wheel(tmp_path / "1"), own_wheel(tmp_path / "2")
    assert one.name == f"hud_python-{__version__}-py3-none-any.whl"
    assert one.read_bytes() == two.read_bytes()
    names = zipfile.ZipFile(one).namelist()
    assert "hud/packaging/wheel.py" in names
    assert not [name for name in names if "platform/ui/" in name or "__pycache__" in name]


def test_pip_installs_it_and_what_is_installed_makes_the_same_wheel(tmp_path: Path) -> None:
    held = hold_names(tmp_path / "held")
    target = tmp_path / "site"
    words = ["--no-deps", "--no-index", "--target", str(target), "-c", str(held.constraints)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *words, str(held.wheel), str(held.holder)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    program = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import hud.packaging.wheel as wheel; "
        f"assert wheel.__file__.startswith({str(target)!r}); "
        f"print(wheel.own_wheel({str(tmp_path / 'again')!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == held.wheel.read_bytes()


def test_the_constraints_let_no_other_hud_in(tmp_path: Path) -> None:
    held = hold_names(tmp_path / "held")
    index = tmp_path / "index"
    index.mkdir()
    for name in ("hud", "hud_python"):
        stem = f"{name}-99.0"
        with zipfile.ZipFile(index / f"{stem}-py3-none-any.whl", "w") as archive:
            archive.writestr("hud/__init__.py", "stranger = True")
            archive.writestr(
                f"{stem}.dist-info/METADATA",
                f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n",
            )
            archive.writestr(
                f"{stem}.dist-info/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            archive.writestr(f"{stem}.dist-info/RECORD", "")
    for wanted in ("hud", "hud-python"):
        target = tmp_path / f"site-{wanted}"
        words = ["--no-index", "--find-links", str(index), "--no-deps", "--target", str(target)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", *words, "-c", str(held.constraints), wanted],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert not (target / "hud/stranger.py").exists()
        installed = list(target.glob("*.dist-info"))
        assert [path.name.split("-")[1].removesuffix(".dist") for path in installed] == [
            __version__
        ]


def test_no_stranger_is_installed_here() -> None:
    assert foreign_owner() is None


def test_a_stranger_with_our_names_is_reported(tmp_path: Path) -> None:
    info = tmp_path / "hud-99.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hud\nVersion: 99.0\n")
    (info / "RECORD").write_text("hud/__init__.py,,\n")
    start = "from hud.cli.main import main; main()"
    program = f"import sys; sys.path.append({str(tmp_path)!r}); {start}"
    done = subprocess.run(
        [sys.executable, "-c", program, "version"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout.strip() == __version__
    assert f"another project's hud is installed here: hud 99.0 in {tmp_path}" in done.stderr
