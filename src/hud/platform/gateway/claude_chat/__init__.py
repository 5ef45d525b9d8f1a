"""Claude asked through Chat Completions: requests and answers translated to and from Messages.

For judges and other clients that know one dialect. What the Messages API has no word for is refused
where leaving it out would change the answer, and left out otherwise; `docs/guides/gateway.md` lists
which.
"""
