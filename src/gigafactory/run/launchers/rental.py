"""What rented capacity costs, and the yes without which nothing is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gigafactory.describe.errors import InputError
from gigafactory.run.launchers.scheduler import Rendered
from gigafactory.units import HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The price of a job's hosts while they are kept, busy or not."""

    num_hosts: int
    shape: str
    usd_per_s: float
    source: str
    """Whose price list, of which date."""

    @property
    def usd_per_h(self) -> float:
        """As people are told."""
        return self.usd_per_s * HOUR_S

    def sentence(self) -> str:
        """For the person who pays."""
        return (
            f"{self.num_hosts} x {self.shape} cost {self.usd_per_h:,.2f} $/h "
            f"({self.usd_per_h * 24:,.0f} $ a day) until they are given back; {self.source}"
        )


@runtime_checkable
class Rental(Protocol):
    """A scheduler that spends money when it is asked for a job."""

    def quote(self, job: Rendered) -> Quote:
        """What ``job`` would cost; asks for nothing."""

    def allow(self, usd_per_h: float) -> None:
        """The person's yes, up to this much."""


def check_consent(quote: Quote, *, allowed_usd_per_h: float | None) -> None:
    """InputError unless the person said yes to at least what ``quote`` says."""
    # a price list in cents an hour, times a count: not to be refused for the last bit
    if allowed_usd_per_h is None or allowed_usd_per_h < quote.usd_per_h * (1 - 1e-9):
        said = "" if allowed_usd_per_h is None else f", and the yes was for {allowed_usd_per_h:g}"
        raise InputError(
            f"{quote.sentence()}{said}. Nothing was asked for; "
            f"say yes with --yes-rent {quote.usd_per_h:.10g}"
        )
