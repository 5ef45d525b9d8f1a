"""The tables of the registry, by name."""

from __future__ import annotations

from hud.store.schema import metadata

projects = metadata.tables["projects"]
environments = metadata.tables["environments"]
builds = metadata.tables["builds"]
build_lines = metadata.tables["build_lines"]
tasksets = metadata.tables["tasksets"]
tasks = metadata.tables["tasks"]
task_versions = metadata.tables["task_versions"]
publications = metadata.tables["publications"]
