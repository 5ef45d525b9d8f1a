"""One call's account: begun before it is sent, ended once, whatever becomes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hud.models.provider import Dialect
from hud.platform.database import now_us
from hud.platform.gateway.budgets import Amount, Reservation, Spender
from hud.platform.gateway.served import Route
from hud.platform.gateway.usage_log import UsageRow
from hud.platform.gateway.used import Used, used_nothing

GONE = 499
"""What is noted as the status of a call whose client went away before its end."""


@dataclass(slots=True)
class Metered:
    """A call under way; whoever makes it fills in what became of it.

    Attributes:
        status: What the client was answered so far; a call that ends without one is `GONE`.
        used: What it took, as far as that is known.
        is_sent: Whether the provider was asked; what never got there is not written down.
    """

    route: Route
    spender: Spender
    dialect: Dialect
    note: Callable[[UsageRow], None]
    status: int = GONE
    error: str | None = None
    used: Used | None = None
    is_sent: bool = False
    is_cached: bool = False
    reservation: Reservation = field(default_factory=Reservation)
    _at: int = field(default_factory=now_us)
    _began: float = field(default_factory=time.monotonic)

    def end(self) -> None:
        """Note the call, and put what it took in place of what was reserved."""
        used = self.used or used_nothing(self.route)
        if self.reservation.accounts:
            cost = 0.0 if self.is_cached else used.cost_usd() or 0.0
            tokens = 0 if self.is_cached else used.tokens
            self.reservation.settle(Amount(cost, tokens))
        if not self.is_sent:
            return
        self.note(
            UsageRow(
                team=self.spender.team,
                at=self._at,
                key_id=self.spender.key_id,
                job_id=self.spender.job_id,
                run_id=self.spender.run_id,
                provider=self.route.provider.name,
                model=self.route.model,
                dialect=self.dialect.value,
                status=self.status,
                used=used,
                is_cached=self.is_cached,
                duration_ms=int(1000 * (time.monotonic() - self._began)),
                error=self._said(used),
            )
        )

    def _said(self, used: Used) -> str | None:
        """Return what is to be said of the call, None for nothing."""
        error = self.error
        if error is None and self.status == GONE:
            error = "the client went away before the end"
        if used.is_known:
            return error
        return f"{error or 'the provider told no usage'}; the tokens are estimated"
