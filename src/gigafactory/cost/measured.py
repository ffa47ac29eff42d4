"""From timings to constants, and from constants to the rates of a device and a network.

Legend
    T_i   seconds of sample i;  w_ij  how much of unit j (call, FLOP, element, ...) it does
    c_j   seconds a unit

    T_i = sum_j c_j w_ij,    c_j >= 0,    minimising  sum_i (sum_j c_j w_ij / T_i - 1)^2

A piece has four units at most, so every subset of them is solved and the best solution without a
negative constant taken (FLOPs and bytes are never free): non-negative least squares (Lawson and
Hanson 1974) by enumeration.
A plain product of (m, k) by (k, n) has T = c_call + 2mnk c_flop + mn c_element: the last term is
filling and draining, so that k = c_element / (2 c_flop) is the depth at which it costs half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from gigafactory.cost.calibration import Calibration
from gigafactory.cost.collectives import Network
from gigafactory.cost.columns import Floats
from gigafactory.cost.kernels import Device, Rate
from gigafactory.describe.cluster import Precision
from gigafactory.describe.errors import JobError
from gigafactory.describe.measured import (
    TERMS,
    DeviceKind,
    Entry,
    Measured,
    Piece,
    Pieces,
    Sampled,
    Terms,
    Unit,
)

#: Bounds of what any machine can do, from a crowded small processor to a GPU, and what is counted.
_PLAUSIBLE = {
    Unit.CALL: (0.0, 0.5, "one call"),
    Unit.GROUP: (0.0, 0.5, "one product of several"),
    Unit.FLOP: (1e-17, 1e-7, "one FLOP"),
    Unit.BYTE: (1e-14, 1e-6, "one byte moved"),
    Unit.ELEMENT: (0.0, 1e-5, "one element"),
    Unit.WEIGHT: (0.0, 1e-5, "one element of a weight"),
    Unit.SCORE_WIDTH: (0.0, 1e-6, "one multiply-add of the two products of attention"),
    Unit.HOP: (0.0, 0.1, "one message to the next rank"),
}


#: Units without which no piece comes out; a piece has one of them at most.
_NEVER_FREE = {Unit.FLOP, Unit.BYTE}


def solve(work: Floats, seconds: Floats, *, always: Sequence[int] = ()) -> Floats:
    """Constants >= 0, shape (num_units,), of samples ``work`` (num_samples, num_units).

    ``always``: one unit at most whose constant is not 0, because nothing does it for nothing.
    """
    relative = work / seconds[:, None]
    width = work.shape[1]
    best, found = np.inf, np.zeros(width)
    for chosen in _subsets(width, always):
        part, *_ = np.linalg.lstsq(relative[:, chosen], np.ones(len(seconds)), rcond=None)
        error = float(np.sum((relative[:, chosen] @ part - 1) ** 2))
        if np.all(part >= 0) and error < best:
            best, found = error, np.zeros(width)
            found[chosen] = part
    return found


def _subsets(width: int, always: Sequence[int]) -> Iterator[list[int]]:
    for count in range(1, width + 1):
        for chosen in combinations(range(width), count):
            if set(always) <= set(chosen):
                yield list(chosen)


def fit(samples: Sequence[Sampled], *, source: str, date: str) -> Pieces:
    """Every piece in ``samples`` with its constants; JobError where one is beyond any machine."""
    pieces = dict.fromkeys(sample.piece for sample in samples)
    return {
        piece: _fit_one(piece, [s for s in samples if s.piece is piece], source=source, date=date)
        for piece in pieces
    }


def _fit_one(piece: Piece, samples: Sequence[Sampled], *, source: str, date: str) -> Terms:
    units = TERMS[piece]
    work = np.array([[s.work.get(unit, 0.0) for unit in units] for s in samples], dtype=np.float64)
    seconds = np.array([s.seconds for s in samples])
    always = [i for i, unit in enumerate(units) if unit in _NEVER_FREE]
    constants = solve(work, seconds, always=always)
    missed = float(np.median(np.abs(work @ constants / seconds - 1)))
    entries = {}
    for unit, value in zip(units, constants, strict=True):
        low, high, what = _PLAUSIBLE[unit]
        if not low <= value <= high:
            raise JobError(
                f"{value:.3g} s for {what} of {piece} is beyond any machine ({low:g} to {high:g}); "
                "the machine is probably busy with something else: measure again"
            )
        entries[unit] = Entry(
            value=float(f"{value:.4g}"),
            low=low,
            high=high,
            source=f"{source}; {_sizes(len(samples))}, median error {missed:.1%}",
            date=date,
            meaning=f"seconds for {what} of {piece}",
        )
    return entries


def _sizes(count: int) -> str:
    return "1 size" if count == 1 else f"{count} sizes"


def piece_s(pieces: Pieces, piece: Piece, work: Mapping[Unit, Floats | float]) -> Floats:
    """Seconds of ``work`` in one piece; units that the piece does not count are left out."""
    terms = pieces[piece]
    total = sum((work.get(unit, 0.0) * entry.value for unit, entry in terms.items()), 0.0)
    return np.asarray(total, dtype=np.float64)


def measured_device(dev: Device, measured: Measured, *, precision: Precision) -> Device:
    """``dev`` with its rates as measured; those of a format that was not measured stay."""
    own = measured.formats.get(precision)
    half = measured.formats.get(Precision.BF16) or own
    # what was measured here stands before what others measured on GPUs of this kind
    moved = replace(
        dev, part="", memory_bytes_per_s=_per_s(measured.alone[Piece.STREAM][Unit.BYTE])
    )
    if own:
        moved = replace(moved, job=_reaching(moved.job, own))
    if half is None or Piece.FLASH not in half:
        return moved
    return replace(
        moved,
        half=_reaching(moved.half, half),
        attention_flops_per_s=_per_s(half[Piece.FLASH][Unit.FLOP]),
        attention_backward_flops_per_s=_per_s(half[Piece.FLASH_BACKWARD][Unit.FLOP]),
    )


def _reaching(rate: Rate, pieces: Pieces) -> Rate:
    return replace(rate, reached_flops_per_s=_per_s(pieces[Piece.GEMM][Unit.FLOP]))


def _per_s(entry: Entry) -> float:
    return 1 / entry.value


def measured_network(net: Network, measured: Measured) -> Network:
    """``net`` with the links between the ranks that were measured: those inside a host."""
    if not measured.together:
        return net
    ring = measured.together[Piece.ALL_REDUCE]
    return replace(
        net,
        scaleup_bytes_per_s=1 / ring[Unit.BYTE].value,
        scaleup_latency_s=ring[Unit.HOP].value,
    )


def measured_constants(c: Calibration, measured: Measured) -> Calibration:
    """``c`` with what the host costs, and how deep a product must be, as measured."""
    launch_s = measured.alone[Piece.LAUNCH][Unit.CALL].value
    changes = {"host_kernel_s": launch_s}
    if measured.device is DeviceKind.CPU:
        # the processor launches and computes in turn, so that nothing hides a launch
        changes["kernel_gap_s"] = launch_s
    half = measured.formats.get(Precision.BF16) or next(iter(measured.formats.values()))
    gemm = half[Piece.GEMM]
    changes["small_k"] = gemm[Unit.ELEMENT].value / (2 * gemm[Unit.FLOP].value)
    return replace(c, **changes)
