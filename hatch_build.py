"""Compiles the C++ backend while a wheel is built, where that is possible; where it is not, the wheel is pure Python and works the same.

The library knows nothing of Python, so one wheel serves all versions of it: its tag names the platform only.
"""

import importlib.util
import platform
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "src/followspot/ops/backends/native"


def platform_tag() -> str:
    """This machine, as wheels name it; also where Python itself was built for several."""
    tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return tag.replace("universal2", platform.machine())


class NativeBackend(BuildHookInterface[Any]):
    """Runs for wheels, editable ones too."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, and puts the library into the wheel.

        Args:
            version: of the target, "standard" or "editable".
            build_data: what the wheel is made of.
        """
        spec = importlib.util.spec_from_file_location("native_compile", Path(self.root, NATIVE, "compile.py"))
        assert spec is not None
        assert spec.loader is not None
        compiling = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(compiling)
        reason = compiling.build()
        if reason is not None:
            self.app.display_warning(f"followspot: the native CPU backend was not built ({reason}); plain torch does its work")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"
        build_data["artifacts"].append(f"/{NATIVE}/{compiling.LIBRARY.name}")
