"""How many slips of the fingers two words are apart: what somebody may have meant, compared with what was typed."""

from __future__ import annotations

# From this length on, two slips are forgiven.
_LONG = 8


def forgiven(word: str) -> int:
    """How many slips are forgiven in a word: one, two in a long one."""
    return 2 if len(word) >= _LONG else 1


def slips(one: str, other: str) -> int:
    """How many slips apart two words are: letters too many, missing, wrong, or changed with their neighbours (the
    optimal string alignment distance).
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        earlier, before, row = before, row, [i]
        for j, against in enumerate(other, start=1):
            steps = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != against))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == against:
                steps = min(steps, earlier[j - 2] + 1)
            row.append(steps)
    return row[-1]
