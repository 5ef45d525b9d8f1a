"""Without the optional packages everything imports, and using it names what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKED = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from hud._core.errors import InputError
try:
    {code}
except InputError as error:
    print(error.message, "|", error.hint)
"""

CASES = {
    "numpy": "import hud.protocol.openpi as o; o.pack({}); o.load_numpy()",
    "websockets": "import hud.capabilities.robot.line",
    "gymnasium": "from hud.environment.robot.sims import build; build('CartPole-v1', {})",
    "av": "from hud.telemetry.robot import SegmentEncoder; SegmentEncoder('top', print, fps=1)",
    "PIL.Image": (
        "import numpy; from hud.trace.robot_steps import still; "
        "still(numpy.zeros((2, 2, 3), 'uint8'))"
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_missing_package_is_one_clear_sentence(name: str) -> None:
    program = BLOCKED.format(blocked=[name], code=CASES[name])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "needs" in done.stdout and "pip install 'hud-python[robot]'" in done.stdout


def test_declaring_a_robot_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from hud.environment.robot import RobotEndpoint, gym_endpoint\n"
        "from hud.capabilities import RobotClient\n"
        "import hud.telemetry.robot, hud.trace.robot_steps\n"
        "gym_endpoint('gym_pusht/PushT-v0', num_envs=2, obs_type='state')\n"
        "heavy = {'numpy', 'gymnasium', 'av', 'PIL', 'gym_pusht'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
