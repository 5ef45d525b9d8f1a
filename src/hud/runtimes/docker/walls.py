"""How far a container is opened so that sandboxes inside get namespaces of their own.

The profile of `seccomp` lets them be made. A sandbox also needs a /proc of its own, and the kernel
refuses one wherever the engine's masks lie over parts of the container's: what may be seen there
must not become more. Without the masks whoever is root on this machine too can write the kernel's
settings through /proc/sys, and own it; so they are lifted only where no process of the container
can be that root.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

_USER = ("--user", "-u")
# Options after which a process may come to more rights than it begins with.
_GIVING = ("privilege", "cap-add", "cap_add")


def user_of(run_args: Sequence[str], image_user: str) -> str:
    """Return who a container runs as: what `docker run` is told, else what its image says."""
    user = image_user
    for place, word in enumerate(run_args):
        name, equals, value = word.partition("=")
        if name in _USER:
            user = value if equals else "".join(run_args[place + 1 : place + 2])
        elif word.startswith("-") and not word.startswith("--") and "u" in word:
            user = word[2:] if word[1] == "u" else ""  # among other letters: not looked into
    return user


def opening_options(
    info: dict[str, Any],
    kind: Literal["docker", "podman"],
    *,
    user: str,
    run_args: Sequence[str] = (),
) -> list[str]:
    """Return the options that lift the masks over /proc, none where they have to stay.

    Args:
        info: What the engine says of itself.
        user: As `user_of` returns it. A name is no proof: the image says what it stands for.
        run_args: Further options that the container gets.
    """
    is_plain = _is_other_than_root(user) and not any(
        word in argument for argument in run_args for word in _GIVING
    )
    if not is_plain and not _is_mapped(info):
        return []
    word = "unmask=ALL" if kind == "podman" else "systempaths=unconfined"
    # The user is said again: the image may by then be another one of that name.
    return ["--security-opt", word, *(("--user", user) if is_plain else ())]


def _is_other_than_root(user: str) -> bool:
    number = user.partition(":")[0]
    return number.isdecimal() and number.isascii() and int(number) != 0


def _is_mapped(info: dict[str, Any]) -> bool:
    """Whether root in the engine's containers is somebody else outside of them."""
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    if any(name in option for option in options for name in ("userns", "rootless")):
        return True
    host = cast("dict[str, Any]", info.get("host") or {})
    return bool(cast("dict[str, Any]", host.get("security") or {}).get("rootless"))
