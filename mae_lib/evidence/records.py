"""What was measured for the claims: records of runs, their differences, the prices of a step."""

import json
import math
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

from mae_lib.config import ADD_ONS
from mae_lib.results import Interval, Results, student, values_of_pairs
from mae_lib.training.checkpoints import ASSETS

LETTER, SPECIFIED, TUNED = "to the letter", "specified", "tuned"
RECIPES = {
    SPECIFIED: "every setting of training as specified",
    TUNED: "the same, with settings chosen for the original by cross-validation",
}


def name_of(add_ons: frozenset[str]) -> str:
    """The variant with these add-ons."""
    names = {0: "original", len(ADD_ONS): "improved"}
    return names.get(len(add_ons)) or "+".join(name for name in ADD_ONS if name in add_ons)


ADD_ON_SETS = [frozenset(names) for n in range(len(ADD_ONS) + 1)
               for names in combinations(ADD_ONS, n)]


class Evidence:
    """The records of the experiments, and the measured prices of a step.

    Of several data sets, that with most records. Runs with the specified recipe and the specified
    sizes, which may be on another, stand apart: `to_the_letter`.
    """

    def __init__(self, folder: Path = ASSETS):
        records = [r for r in Results(folder / "results.json").read() if r.get("recipe") in RECIPES]
        self.records = _on_one_data_set(records)
        self.data = self.records[0]["data"] if self.records else None
        self.to_the_letter = _on_one_data_set([
            r for r in records if r.get("settings", {}).get("img_size", 0) is None
            and r["recipe"] == SPECIFIED])
        path = folder / "add_on_prices.json"
        self.prices = json.loads(path.read_text("utf-8")) if path.exists() else []

    def runs(self, name: str, recipe: str) -> list[dict]:
        """The records of a method under a recipe, one for each seed; ValueError if more."""
        records = self.to_the_letter if recipe == LETTER else [
            r for r in self.records if r["recipe"] == recipe]
        found = [r for r in records if r["name"] == name]
        if len({r["seed"] for r in found}) < len(found):
            raise ValueError(f"There are several records of {name!r}, recipe {recipe!r}, for one "
                             "seed: leave one of them in results.json.")
        return found

    def effect(
        self, measure: str, recipe: str, name: str = "improved", base: str = "original"
    ) -> Interval | None:
        """How much larger a measure is with `name` than with `base`, paired by seed."""
        pairs = values_of_pairs(self.runs(base, recipe), self.runs(name, recipe), measure)
        return student([ours - theirs for theirs, ours in pairs]) if pairs else None

    def main_effect(self, measure: str, recipe: str, add_on: str) -> Interval | None:
        """How much larger a measure is with an add-on, in all combinations with the others.

        A seed counts as one value, the mean over its pairs: they share first weights and order.
        """
        found = [sum(with_it - without for without, with_it in pairs) / len(pairs)
                 for pairs in self.pairs(measure, recipe, add_on).values()]
        return student(found) if found else None

    def pairs(
        self, measure: str, recipe: str, add_on: str
    ) -> dict[int, list[tuple[float, float]]]:
        """A measure without and with an add-on, for each pair of runs that differ in it alone, by
        seed: of those that have all combinations.
        """
        company = [others for others in ADD_ON_SETS if add_on not in others]
        values = {names: {r["seed"]: r["measures"][measure]["value"]
                          for r in self.runs(name_of(names), recipe) if measure in r["measures"]}
                  for names in ADD_ON_SETS}
        whole = set.intersection(*map(set, values.values()))
        return {seed: [(values[others][seed], values[others | {add_on}][seed])
                       for others in company] for seed in sorted(whole)}

    def change(
        self, value: Callable[[dict], float], recipe: str, name: str = "improved",
        base: str = "original",
    ) -> Interval | None:
        """By how many per cent value(measures) is larger with `name`, paired by seed."""
        theirs = {r["seed"]: r["measures"] for r in self.runs(base, recipe)}
        ours = {r["seed"]: r["measures"] for r in self.runs(name, recipe)}
        ratios = [value(ours[seed]) / value(theirs[seed]) for seed in ours if seed in theirs]
        return student([100 * (ratio - 1) for ratio in ratios]) if ratios else None

    def gap(self, high: str, low: str, recipe: str, name: str = "original") -> Interval | None:
        """How much larger one measure of the same runs is than another."""
        gaps = [r["measures"][high]["value"] - r["measures"][low]["value"]
                for r in self.runs(name, recipe) if high in r["measures"]]
        return student(gaps) if gaps else None

    def price(self, *rows: str) -> Interval | None:
        """By how many per cent a step with all of `rows` of the latest price list takes longer."""
        if not self.prices:
            return None
        latest = self.prices[-1]
        entries = {r["name"]: r for r in latest["rows"]} | {"curriculum": latest["curriculum"]}
        ends = []
        for end in ("", "_low", "_high"):
            ratios = (entries[row].get(f"seconds_ratio{end}", math.nan) for row in rows)
            ends.append(100 * (math.prod(ratios) - 1))
        return tuple(ends)


def _on_one_data_set(records: list[dict]) -> list[dict]:
    """The records on the data set that most of them are on."""
    data = Counter(json.dumps(r["data"]) for r in records).most_common(1)
    return [r for r in records if json.dumps(r["data"]) == data[0][0]]
