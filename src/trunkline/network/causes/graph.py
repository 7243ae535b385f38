"""The causal graph: which kind of alarm brings which about, how often, and how surely that is known.

It is data, learnt beside the stream (`learn`) and given to correlation as a table, so that an operator can look at it,
strike an edge out and add what the manual says. A kind of alarm is its *problem*: the word of its event type, probable
cause and specific problem together, whichever object it stands on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.identity import name_words

Words = npt.NDArray[np.uint64]
Longs = npt.NDArray[np.int64]

SCHEMA = pl.Schema(
    {
        "cause": pl.UInt64,
        "effect": pl.UInt64,
        "cause_name": pl.String,
        "effect_name": pl.String,
        "strength_milli": pl.Int64,
        "gain_milli": pl.Int64,
    }
)
SEPARATOR = "|"


def problem_names(alarms: pl.DataFrame) -> pl.Series:
    """What kind of alarm each row is, as text: event type, probable cause and specific problem."""
    parts = ("event_type", "probable_cause", "specific_problem")
    return alarms.select(
        pl.concat_str([pl.col(part).fill_null("") for part in parts], separator=SEPARATOR).alias("problem")
    ).to_series()


def problem_words(alarms: pl.DataFrame) -> Words:
    """What kind of alarm each row is, as a word; two objects with the same trouble have the same word."""
    return name_words(problem_names(alarms))


@dataclass(frozen=True)
class CausalGraph:
    """Edges ascending by (cause, effect), each once.

    `strength_milli`: how many alarms of the effect one alarm of the cause brings about, on its object and on each
    neighbour of it, in thousandths. `gain_milli`: how much likelier the edge makes what was seen, in thousandths of a
    natural logarithm. `names` are for people.
    """

    cause: Words
    effect: Words
    strength_milli: Longs
    gain_milli: Longs
    names: dict[int, str]

    def __post_init__(self) -> None:
        """Assert the order that look-ups rely on."""
        pairs = list(zip(self.cause.tolist(), self.effect.tolist(), strict=True))
        assert pairs == sorted(set(pairs)), "edges ascend and stand once"

    def __len__(self) -> int:
        """How many edges there are."""
        return len(self.cause)

    @classmethod
    def empty(cls) -> CausalGraph:
        """A graph that knows nothing."""
        words, longs = np.empty(0, np.uint64), np.empty(0, np.int64)
        return cls(words, words, longs, longs, {})

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> CausalGraph:
        """Read a graph back; a frame with an edge twice is refused with `ValueError`."""
        if frame.select("cause", "effect").is_duplicated().any():
            raise ValueError("an edge of the causal graph is given twice")
        frame = frame.select(SCHEMA.names()).cast(SCHEMA).sort("cause", "effect")
        names = dict(zip(frame["cause"].to_list(), frame["cause_name"].to_list(), strict=True))
        names |= dict(zip(frame["effect"].to_list(), frame["effect_name"].to_list(), strict=True))
        return cls(
            frame["cause"].to_numpy(),
            frame["effect"].to_numpy(),
            frame["strength_milli"].to_numpy(),
            frame["gain_milli"].to_numpy(),
            {word: name or "" for word, name in names.items()},
        )

    def to_frame(self) -> pl.DataFrame:
        """The graph as rows that can be stored, shown and edited."""
        return pl.DataFrame(
            {
                "cause": self.cause,
                "effect": self.effect,
                "cause_name": [self.names.get(word, "") for word in self.cause.tolist()],
                "effect_name": [self.names.get(word, "") for word in self.effect.tolist()],
                "strength_milli": self.strength_milli,
                "gain_milli": self.gain_milli,
            },
            schema=SCHEMA,
        )

    def strengths(self, causes: Words, effects: Words) -> Longs:
        """Strength of each edge `causes[i]` to `effects[i]`; 0 where there is none."""
        if not len(self):
            return np.zeros(len(causes), np.int64)
        asked = pl.DataFrame({"cause": causes, "effect": effects})
        known = pl.DataFrame(
            {"cause": self.cause, "effect": self.effect, "strength": np.maximum(self.strength_milli, 1)}
        )
        found = asked.join(known, on=["cause", "effect"], how="left", maintain_order="left")
        return found["strength"].fill_null(0).to_numpy()
