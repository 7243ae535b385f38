"""A second opinion: the same usage priced and charged again, plainly, by other hands.

An auditor's program, not a fast one. It reads the tariff files, the subscribers and the usage by itself, works in
fractions and whole numbers, and shares no line with `src/trunkline`, so that one mistake in a rule cannot hide in
both. Where the two disagree on a single micro-unit, a test fails and a person decides who is right.
"""
