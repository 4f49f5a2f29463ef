"""What the experiments are: the settings that are searched, and the studies."""

from dataclasses import dataclass, field

from mae_lib.evidence.registration import CONTRASTS, FACTORIAL_SEEDS, LETTER, OWN, SEEDS, SMALL
from mae_lib.evidence.second_registration import AGAIN, AGAIN_SEEDS, BOTH, WEAK


@dataclass(frozen=True)
class Place:
    """Where runs are made: a recipe of config.RECIPES, and how many unlabeled images it takes."""

    recipe: str
    images: int | None = None  # None: all
    settings: dict = field(default_factory=dict)


MORE = "small, tuned, more images"  # asked after the second registration's runs; without a claim
SEARCH_IMAGES = 24_000
PLACES = {
    SMALL: Place("tuned", 8_000),
    AGAIN: Place("tuned", 8_000),
    MORE: Place("tuned", SEARCH_IMAGES),
    # The ratio changes with every one of 1,563 steps, as specified, and not four times an epoch.
    LETTER: Place("specified", settings={"images_per_epoch": 100_000, "mask_ratio_holds": 1563}),
}
# Axes, tried one after another, of settings of the original; the search begins at the first ones.
SEARCH = (("lr=0.0024", "lr=0.0048", "lr=0.0012"), ("batch_size=64", "batch_size=32"),
          ("crop_scale=0.2", "crop_scale=0.4"), ("decoder_depth=1", "decoder_depth=2"),
          ("weight_decay=0.05", "weight_decay=0.15"))
# Questions that we asked after the registered runs had ended; without a claim, as CONTRASTS.
LATER = (("shuffled", "original", "the random order, against the original"),
         ("shuffled", "mean-ratio", "the random order, against the mean ratio"),
         ("mean-ratio", "original", "the mean ratio, against the original"),
         ("curriculum", "original+epochs=12", "the curriculum, against longer training"),
         ("reversed", "curriculum", "the curriculum's mask ratios in reverse order"),
         ("reversed", "original", "the reverse order, against the original"))
LABEL_COUNTS = (50, 500)  # 1 and 10 % of 5,000: fine-tuned runs are tried with these too
FACTORIAL = ("original", "curriculum", "laplacian", "uniformity", "curriculum+laplacian",
             "curriculum+uniformity", "laplacian+uniformity", "improved")


@dataclass(frozen=True)
class Study:
    """Variants with several seeds each, made as `place` says."""

    variants: tuple[str, ...]
    seeds: tuple[int, ...] = FACTORIAL_SEEDS
    place: str = SMALL
    fine_tune: bool = False
    baselines: bool = False  # of the first seed


# In running order: first the runs on which most claims depend.
STUDIES = {
    "methods": Study(("original", "improved"), SEEDS[SMALL], fine_tune=True, baselines=True),
    "own": Study((OWN[0].variant,), SEEDS[SMALL], fine_tune=True),
    "factorial": Study(FACTORIAL[1:-1]),
    "controls": Study(tuple(variant for variant, _, _ in CONTRASTS if variant not in FACTORIAL)),
    "order": Study(("reversed",)),
    "again": Study((WEAK,), AGAIN_SEEDS, AGAIN),
    "again-tuned": Study(("original", BOTH), AGAIN_SEEDS, AGAIN, fine_tune=True),
    "more": Study(("original", BOTH), tuple(range(23, 29)), MORE, fine_tune=True),
    "letter": Study(("original", "improved"), SEEDS[LETTER], LETTER, fine_tune=True),
    "long": Study(tuple(f"{name}+epochs=100" for name in ("original", "improved", OWN[0].variant)),
                  (1,), LETTER, fine_tune=True),
}


def score(record: dict) -> float:
    """What decides the search: an accuracy on training images, and 0 for a run that diverged."""
    return record["measures"].get("lp_cv", {"value": 0.0})["value"]
