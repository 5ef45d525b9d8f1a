"""The inference gateway: every provider's own dialect at one address, with one key.

`app` is what is served; `served` says which provider a model's name means, `upstream` asks it,
`relay` passes its answer on while it comes, `usage` notes what it took, `budgets` say when to stop.
"""
