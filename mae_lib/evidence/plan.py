"""What the experiments are: settings that are searched, studies, and how large the runs are."""

from dataclasses import dataclass

from mae_lib.evidence.registration import FACTORIAL_SEEDS, LETTER, SEEDS, SMALL

# What is searched, in this order: parts of a variant's name. The first is where the search begins.
RECIPE_AXES = (
    ("lr=0.0024", "lr=0.0048", "lr=0.0012"),
    ("batch_size=64", "batch_size=32"),
    ("crop_scale=0.2", "crop_scale=0.4"),
    ("decoder_depth=1", "decoder_depth=2"),
    ("weight_decay=0.05", "weight_decay=0.15"),
)
# The same for the add-ons, upon the recipe found, after what their ablation showed: other ramps at
# the original's compute, a weaker uniformity loss, a stronger Laplacian loss.
ADD_ON_AXES = (
    ("mask_ratio_sched=const",
     "mask_ratio_sched=linear+equal_compute=yes",
     "mask_ratio_sched=linear+mask_ratio_start=0.25+equal_compute=yes",
     "mask_ratio_sched=linear+mask_ratio_warmup_epochs=10+equal_compute=yes",
     "mask_ratio_sched=linear+mask_ratio_start=0.9+equal_compute=yes"),
    ("lambda_unif=0", "lambda_unif=0.002", "lambda_unif=0.002+unif_t=5"),
    ("lambda_freq=0", "lambda_freq=0.2", "lambda_freq=0.2+freq_form=energy"),
)
# Recipes of fine-tuning for the weights that the first search found, and for random weights.
FINE_TUNE_AXES = (
    ("lr=0.006", "lr=0.003", "lr=0.012", "lr=0.024"),
    ("layer_decay=0.75", "layer_decay=0.9"),
)
SCRATCH_AXES = (("layer_decay=1",), ("lr=0.001", "lr=0.0005", "lr=0.003", "lr=0.006"))
FOUND = "improved, as searched"  # stands for the variant that the second search finds
FACTORIAL = ("original", "curriculum", "laplacian", "uniformity", "curriculum+laplacian",
             "curriculum+uniformity", "laplacian+uniformity", "improved")


@dataclass(frozen=True)
class Study:
    """Variants of a recipe, each with several seeds: others than the one that chose settings, whose
    winner was also lucky.
    """

    recipe: str  # "specified" or "tuned"
    variants: tuple[str, ...]
    seeds: tuple[int, ...] = FACTORIAL_SEEDS
    fine_tune: bool = False
    baselines: bool = False  # of the first seed


# In the order of running: what most depends on comes first.
STUDIES = {
    "methods": Study("tuned", ("original", "improved"), SEEDS[SMALL], True, baselines=True),
    "add-ons": Study("tuned", FACTORIAL[1:-1]),
    "controls": Study("tuned", (
        "curriculum+equal-compute", "mean-ratio", "shuffled", "low-frequency", "raw-laplacian",
        "improved+equal-compute", "original+epochs=12")),  # as long as a ramp's compute would last
    "search": Study("tuned", (FOUND,), fine_tune=True),
    "parts": Study("tuned", ("energy+lambda_freq=0.2", "uniformity+lambda_unif=0.002")),  # alone
    "pairs": Study("tuned", ("original+batch_size=512", "uniformity+batch_size=512")),
    "add-ons as specified": Study("specified", FACTORIAL[1:-1]),
    "reported": Study("specified", ("original", "improved"), SEEDS[LETTER], fine_tune=True),
    "shapes": Study("tuned", (
        "original+img_size=224+patch_size=16", "original+img_size=64+patch_size=8")),
}


@dataclass(frozen=True)
class Scale:
    """How large the runs are."""

    about: str
    base: dict  # settings of all runs
    fine_tune: dict
    limit: int | None = None  # unlabeled images; None: all
    tuning_limit: int | None = None  # unlabeled images of the runs that tune
    tuning_fine_tune: dict | None = None  # what the runs that tune fine-tuning change of fine_tune


SMALL, BRIEF = dict(preset="specified", img_size=64, patch_size=8), dict(epochs=15, warmup_epochs=2)
SCALES = {
    "cpu": Scale("64-pixel images in patches of 8, 24,000 of them", SMALL, BRIEF, 24_000, 24_000),
    "long": Scale("the same with all images and longer fine-tuning, as tuned for cpu", SMALL,
                  dict(epochs=30, warmup_epochs=3), None, 24_000, BRIEF),
    "gpu": Scale("the specified shape, epochs of 100,000 images whatever there are",
                 dict(preset="specified", images_per_epoch=100_000), {}),
}
