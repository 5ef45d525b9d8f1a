"""The layers a rollout writes into, laid by the kernel in a view of the tests' own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hud.packaging.root import problem
from tests.needs import missing

LAY = """
import os, sys
from hud.packaging import inside

lower, shown, top = sys.argv[1:]
inside._separate(0)
inside._memory(lower, 16)
os.makedirs(lower + "/deep/below here")
inside._mount(shown, lower + "/deep/below here", None, inside._MS_BIND, None)
open(lower + "/program", "w").close()
inside._mount(shown + "/kept", lower + "/program", None, inside._MS_BIND, None)
open(lower + "/plain", "w").write("as it was")
os.symlink("plain", lower + "/link")
before = os.open(lower, os.O_RDONLY)
inside._memory(top, 16)
inside._layer(1, top, lower, lower)
open(lower + "/plain", "w").write("changed")
open(lower + "/new", "w").close()
print(open(f"/proc/self/fd/{before}/plain").read(), os.listdir(before) == os.listdir(lower))
print(open(lower + "/link").read(), open(lower + "/deep/below here/kept").read())
print(open(lower + "/program").read(), oct(os.stat(lower).st_mode & 0o7777))
print(sorted(os.listdir(lower)))
"""


@pytest.fixture(autouse=True)
def walls() -> None:
    """Need what a bundle's root is made with; under CI its lack is a failure."""
    if (why := problem()) is not None:
        missing(why)


def test_what_is_mounted_below_a_writable_folder_is_still_there(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("lower", "shown", "top")]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "shown" / "kept").write_text("shown")
    done = subprocess.run(
        [sys.executable, "-c", LAY, *map(str, folders)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "as it was False",
        "changed shown",
        "shown 0o755",
        "['deep', 'link', 'new', 'plain', 'program']",
    ], done.stderr
    assert (tmp_path / "shown" / "kept").read_text() == "shown"
