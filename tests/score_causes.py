"""How well the causal graph is learnt from real alarms, judged as that data's competition judged it.

`python -m tests.score_causes [FOLDER]` prints F1 and g of the graph learnt from `alarm.csv` and `topology.npy`, without
and with `causal_prior.npy`, against `true_graph.npy`; the folder is ../shared/data/alarms by default. The data is the
sample set of the NeurIPS 2023 competition on root causes of telecom alarms. g = max(0, TP - FP) / (TP + FN); edges of a
kind to itself are not counted. What is learnt is not told the truth: it is read afterwards, to score.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.network.causes.graph import CausalGraph
from trunkline.network.causes.learn import Learning, learn

ALARMS = Path(__file__).parents[2] / "shared" / "data" / "alarms"
PUBLISHED = (("PC with prior", 0.710, 0.388), ("NOTEARS without prior", 0.247, 0.129))

Matrix = npt.NDArray[Any]


@dataclass(frozen=True)
class Score:
    """How a learnt graph compares with the true one."""

    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)

    @property
    def g(self) -> float:
        """The competition's own figure."""
        return max(0, self.right - self.wrong) / max(1, self.right + self.missed)


def alarms_of(folder: Path) -> pl.DataFrame:
    """The raised alarms; object and problem are the file's numbers, each more by one because 0 is no word."""
    return pl.read_csv(folder / "alarm.csv").select(
        time_us=pl.col("start_timestamp") * 1_000_000,
        object=(pl.col("device_id") + 1).cast(pl.UInt64),
        problem=(pl.col("alarm_id") + 1).cast(pl.UInt64),
    )


def neighbours_of(folder: Path) -> pl.DataFrame:
    """Devices that are linked."""
    one, other = np.nonzero(np.load(folder / "topology.npy"))
    return pl.DataFrame({"object": one + 1, "neighbour": other + 1}).cast(pl.UInt64)


def prior_of(folder: Path) -> pl.DataFrame:
    """What is known beforehand: 1 an edge, 0 none, -1 not known."""
    prior = np.load(folder / "causal_prior.npy")
    cause, effect = np.nonzero(prior >= 0)
    return pl.DataFrame(
        {"cause": cause + 1, "effect": effect + 1, "holds": prior[cause, effect] > 0},
        schema={"cause": pl.UInt64, "effect": pl.UInt64, "holds": pl.Boolean},
    )


def matrix_of(graph: CausalGraph, kinds: int) -> Matrix:
    """The graph as the competition writes it."""
    matrix = np.zeros((kinds, kinds), np.bool_)
    matrix[graph.cause.astype(np.int64) - 1, graph.effect.astype(np.int64) - 1] = True
    return matrix


def score(learnt: Matrix, true: Matrix) -> Score:
    """Compare edges between different kinds."""
    between = ~np.eye(len(true), dtype=np.bool_)
    learnt, true = (learnt > 0) & between, (true > 0) & between
    return Score(int((learnt & true).sum()), int((learnt & ~true).sum()), int((~learnt & true).sum()))


def scored(folder: Path, how: Learning | None = None) -> dict[str, Score]:
    """The scores without and with the prior."""
    true = np.load(folder / "true_graph.npy")
    alarms, neighbours = alarms_of(folder), neighbours_of(folder)
    return {
        name: score(matrix_of(learn(alarms, neighbours, prior, how), len(true)), true)
        for name, prior in (("without prior", None), ("with prior", prior_of(folder)))
    }


def main() -> int:
    """Print the scores beside the published ones."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ALARMS)
    folder: Path = parser.parse_args().folder
    if not (folder / "alarm.csv").is_file():
        print(f"no alarms at {folder}: nothing is scored", file=sys.stderr)
        return 1
    for name, f1, g in PUBLISHED:
        print(f"published, {name}: F1 {f1:.3f}, g {g:.3f}")
    for name, result in scored(folder).items():
        print(
            f"learnt here, {name}: F1 {result.f1:.3f}, g {result.g:.3f} "
            f"({result.right} edges right, {result.wrong} wrong, {result.missed} missed)"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
