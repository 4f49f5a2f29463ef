"""What was measured for the claims: records of runs, their differences, the prices of a step."""

import json
import math
from itertools import combinations, product
from pathlib import Path

from mae_lib.config import ADD_ONS, RECIPES, PretrainConfig, variant_settings
from mae_lib.evidence.plan import MORE, PLACES, STUDIES, Study
from mae_lib.evidence.registration import GAINS, LETTER, OWN, SMALL
from mae_lib.evidence.second_registration import AGAIN
from mae_lib.results import BASELINES, Interval, Results, entries_of_pairs, grouped, student
from mae_lib.training.checkpoints import ASSETS

BEGUN = "to the letter, begun"  # the place of registered runs that are too few to judge a claim
TIMED = "rounds of timing"  # what the interval of a price runs over
ADD_ON_SETS = [frozenset(names) for n in range(len(ADD_ONS) + 1)
               for names in combinations(ADD_ONS, n)]


def name_of(add_ons: frozenset[str]) -> str:
    """The variant with these add-ons."""
    names = {0: "original", len(ADD_ONS): "improved"}
    return names.get(len(add_ons)) or "+".join(name for name in ADD_ONS if name in add_ons)


class Evidence:
    """The records of the experiments by place (SMALL, LETTER), and the measured prices of a step.

    At each place, the registered runs count from the moment when all that judge its claims are
    there; until then, those of the first edition do, if there are any. The two never mix. AGAIN and
    MORE have runs only once all are there, and BEGUN the registered runs of LETTER from the first
    one on.
    `early` says what the prices' intervals run over, if they are from before the registration.
    """

    def __init__(self, folder: Path = ASSETS):
        records = Results(folder / "results.json").read()
        self.records = {place: _that_count(records, place) for place in (SMALL, LETTER)}
        self.records[BEGUN] = _registered(records, LETTER)
        for place in (AGAIN, MORE):
            found = _registered(records, place)
            complete = len(found) == len(_planned(place))
            self.records[place] = [r for r in found if complete and "failed" not in r["measures"]]
        path = folder / "add_on_prices.json"
        prices = json.loads(path.read_text("utf-8")) if path.exists() else []
        newest = {p["device"]: p for p in sorted(prices, key=lambda p: p["date"])
                  if p["preset"] == "specified" and p["batch_size"] == 64
                  and p["rounds"] > 1}  # one round has no interval
        self.prices = max(newest.values(), key=lambda p: p["rows"][0]["images_per_second"],
                          default=None)
        fixed = json.loads((ASSETS / "registration.json").read_text("utf-8"))["registration"]
        self.early = {TIMED} if self.prices and self.prices["date"] < fixed["date"] else set()

    def runs(self, name: str, place: str = SMALL) -> list[dict]:
        """The records of a method, one for each seed. Raises ValueError if a seed has several."""
        return grouped(self.records[place]).get(name, [])

    def count(self, place: str = SMALL) -> bool:
        """Whether a place's runs are registered: the first edition's have no fingerprint."""
        return all("fingerprint" in r["data"] for r in self.records[place])

    def pairs(self, measure: str, variant: str, base: str = "original",
              place: str = SMALL) -> list[tuple[float, float]]:
        """A measure with `base` and with `variant`, for each seed that has both."""
        found = entries_of_pairs(self.runs(base, place), self.runs(variant, place), measure)
        return [(old["value"], new["value"]) for old, new in found]

    def effect(self, measure: str, variant: str, base: str = "original",
               place: str = SMALL) -> Interval | None:
        """How much larger a measure is with `variant` than with `base`, paired by seed."""
        pairs = self.pairs(measure, variant, base, place)
        return student([new - old for old, new in pairs]) if pairs else None

    def factorial(self, measure: str) -> dict[frozenset[str], Interval]:
        """Main effects and interactions of the add-ons, over the seeds that have all combinations.

        A main effect is the mean with the add-on minus the mean without. An interaction of two is
        half the amount by which the effect of one changes when the other is present. A seed counts
        as one value, since its runs share their initial weights and the order of the images.
        """
        values = {names: {r["seed"]: r["measures"][measure]["value"]
                          for r in self.runs(name_of(names)) if measure in r["measures"]}
                  for names in ADD_ON_SETS}
        seeds = sorted(set.intersection(*map(set, values.values())))
        halves = 2 ** (len(ADD_ONS) - 1)
        return {names: student([
            sum((-1) ** len(names - on) * values[on][seed] for on in ADD_ON_SETS) / halves
            for seed in seeds]) for names in ADD_ON_SETS[1:] if seeds}

    def price(self, *rows: str) -> Interval | None:
        """By how many per cent a step with all of `rows` takes longer, on the fastest machine.

        Ratios multiply; the relative errors of independent measurements add in quadrature. None
        where a row was not measured, or so badly that its interval reaches down to zero.
        """
        found = self.prices or {"rows": [], "curriculum": None}
        entries = {r["name"]: r for r in found["rows"]} | {"curriculum": found["curriculum"]}
        if any((entries.get(row) or {}).get("seconds_ratio_low", 0) <= 0 for row in rows):
            return None
        ratio, variance = 1.0, 0.0
        for row in (entries[name] for name in rows):
            low, high = row["seconds_ratio_low"], row["seconds_ratio_high"]
            ratio *= math.sqrt(low * high)  # the middle of the interval, which is the mean's
            variance += (math.log(high / low) / 2) ** 2
        factor = math.exp(math.sqrt(variance))
        return tuple(100 * (r - 1) for r in (ratio, ratio / factor, ratio * factor))


def _that_count(records: list[dict], place: str) -> list[dict]:
    """The registered runs of a place, once all that its claims need are there; until then others.

    These are the first edition's, whose photographs have no fingerprint, on the set with most of
    them, or if there are none, incomplete registered runs. Once complete, exactly the registered
    seeds count.
    """
    found = [r for r in records if r.get("recipe") == PLACES[place].recipe
             and (place == SMALL or r["settings"].get("img_size", 0) is None)]
    planned = _planned(place)
    claimed = {name for c in (*GAINS, *OWN) if c.runs == place for name in (c.base, c.variant)}
    sets: dict[str, list[dict]] = {}
    for record in found:
        sets.setdefault(json.dumps(record["data"]), []).append(record)
    early = [runs for runs in sets.values() if "fingerprint" not in runs[0]["data"]]
    for runs in sets.values():
        registered = [r for r in runs if r["name"] in BASELINES or _as_planned(r, planned, place)]
        made = {(r["name"], r["seed"]) for r in registered}
        if runs not in early and all(run in made for run in planned if run[0] in claimed):
            return [_with_few_labels(r) for r in registered if "failed" not in r["measures"]]
    return max(early or sets.values(), default=[],
               key=lambda runs: sum(r["name"] in claimed for r in runs))


def _planned(place: str) -> dict[tuple[str, int], Study]:
    """The studies of a place by (variant, seed) of their runs."""
    return {run: study for study in STUDIES.values() if study.place == place
            for run in product(study.variants, study.seeds)}


def _registered(records: list[dict], place: str) -> list[dict]:
    """The registered runs of a place, as far as they are there."""
    planned = _planned(place)
    return [r for r in records if "fingerprint" in r["data"]
            and r.get("recipe") == PLACES[place].recipe and _as_planned(r, planned, place)]


def _with_few_labels(record: dict) -> dict:
    """A record whose measures with few labels have names of their own, such as "ft@50"."""
    few = {f"{measure}@{count}": entry
           for count, found in record["measures"].get("labels", {}).items()
           for measure, entry in found.items()}
    return record | {"measures": record["measures"] | few}


def _as_planned(record: dict, planned: dict[tuple, Study], place: str) -> bool:
    """Whether a run was made with the settings of the plan, and measured; or else diverged."""
    study, settings = planned.get((record["name"], record["seed"])), record["settings"]
    if not study:
        return False
    base = {**RECIPES[PLACES[place].recipe].pretrain, **PLACES[place].settings}
    base["seed"] = record["seed"]
    asked = vars(PretrainConfig(**variant_settings(record["name"], base)))
    measured = {"lp", "ft"} if study.fine_tune else {"lp"}
    return (measured <= record["measures"].keys() or "failed" in record["measures"]) and all(
        settings[k] == v for k, v in asked.items() if k in settings and k != "precision")
