"""A process per rollout, forked from a warm parent that has already imported the source.

`link` is the eval process's end, `parent` the warm process that forks and reaps, `child` what a
forked process becomes, `wire` what they say to each other, `safety` what must not be forked, and
`guard` sweeps when both ends were killed.
Where forking is unsafe the same parent starts a fresh interpreter for every rollout instead.
"""
