"""What ``runc delete`` does about a container of which nothing runs any more, without starting it.

Starting a Go program takes longer than all there is to do: its control groups go, then the
directory in which the runtime keeps its state. Anything unusual is left to the runtime.

Source: runc ``libcontainer/state_linux.go`` (destroy), ``libcontainer/cgroups/utils.go`` (RemovePaths).
"""

from __future__ import annotations

import json
import os

__all__ = ["clear_up"]

_HOOKS = ("Hooks", "hooks")


def clear_up(state_directory: str) -> bool:
    """True when it is done; False when the runtime itself has to."""
    try:
        with open(os.path.join(state_directory, "state.json"), "rb") as file:
            state = json.load(file)
        config = state["config"]
        if state.get("intel_rdt_path") or any(any((config.get(key) or {}).values()) for key in _HOOKS):
            return False
        for path in state["cgroup_paths"].values():
            _remove_group(path)
        for name in os.listdir(state_directory):
            os.unlink(os.path.join(state_directory, name))
        os.rmdir(state_directory)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _remove_group(path: str) -> None:
    """A control group, and those that the container made below it."""
    try:
        os.rmdir(path)
        return
    except FileNotFoundError:
        return
    except OSError:
        pass  # there are some below it
    for directory, _, _ in os.walk(path, topdown=False):
        os.rmdir(directory)
