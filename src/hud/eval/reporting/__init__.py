"""Reporting to a platform what is recorded here: while it happens, or later with `hud push`.

The local store is what is reported from, so nothing waits for a platform and nothing is lost to
one that is down. `sent` remembers what arrived, `delivery` sends what did not, `reporter` does so
in a thread beside an eval, and `pushing` when asked.
"""
