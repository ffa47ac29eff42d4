"""What a study tells Slurm beside the size of the job."""

from __future__ import annotations

from pydantic import Field, PositiveInt, field_validator

from gigafactory.describe.spec import Spec
from gigafactory.units import Seconds


class Slurm(Spec):
    """Where and as whom to ask (`giga run --on slurm`); empty: the cluster's default."""

    partition: str = Field(default="", pattern=r"^[\w.,-]*$")
    account: str = Field(default="", pattern=r"^[\w.-]*$")
    qos: str = Field(default="", pattern=r"^[\w.-]*$")
    constraint: str = Field(default="", pattern=r"^[\w.,&|()*\[\]-]*$")
    gres_per_host: str = Field(default="", pattern=r"^[\w:.,-]*$")
    """As in `--gres`, for example gpu:8."""
    cpus_per_host: PositiveInt | None = None
    """As `slurmd -C` prints; for the configuration of a described cluster."""
    time_limit_s: Seconds | None = Field(default=None, gt=0)
    options: tuple[str, ...] = ()
    """Further lines for `#SBATCH`, for example --reservation=acceptance."""

    @field_validator("options")
    @classmethod
    def _are_options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if not option.startswith("-") or not option.isprintable():
                raise ValueError(f"{option!r} is no option of sbatch; write --name=value")
        return options
