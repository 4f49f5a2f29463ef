"""Every setting of a run, each with its default and the help that the command line shows."""

import dataclasses
import functools
from dataclasses import dataclass

import torch

from mae_lib.masking import num_visible_patches, schedule_mask_ratio
from mae_lib.model import MaskedAutoencoder
from mae_lib.runtime import cli
from mae_lib.runtime.checks import check_choice, check_value
from mae_lib.runtime.cli import option
from mae_lib.runtime.hardware import PRECISIONS, RNG, generator

ADD_ONS = {
    "curriculum": {"mask_ratio_sched": "linear"},
    "laplacian": {"lambda_freq": 0.05},
    "uniformity": {"lambda_unif": 0.01},
}
# What experiments put in place of an add-on, or beside it, to learn what its effect comes from.
CONTROLS = {
    "shuffled": {"mask_ratio_sched": "shuffled"},  # the curriculum's parts in random order
    "reversed": {"mask_ratio_sched": "reversed"},  # the same, last part first
    "mean-ratio": {"mask_ratio": 0.6875},  # about the curriculum's mean over ten epochs, throughout
    "equal-compute": {"equal_compute": True},  # fewer steps, where a curriculum costs more
    "energy": {"lambda_freq": 0.05, "freq_form": "energy"},
    "low-frequency": {"target_blur": 2.0},  # the opposite of the Laplacian loss
}
FREQUENCY_FORMS = ("composite", "energy")
# Options by the group that the command line's help shows them in.
model, schedule, masking, loss, run, fine_tuning = (
    functools.partial(option, group=group)
    for group in ("model", "schedule", "masking", "loss", "run", "fine-tuning"))


class Checked:
    """Training settings that can check their own ranges."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # no checkpoint with NumPy's could be loaded
            if hasattr(value, "item"):
                object.__setattr__(self, name, value.item())

    def check(self) -> None:
        """Raise ValueError, naming the setting, if a value is out of range."""
        cli.check_values(self)
        if not self.warmup_epochs < self.epochs:
            raise ValueError(f"warmup_epochs must be below epochs ({self.epochs}), got "
                             f"{self.warmup_epochs:g}: set both.")


@dataclass(frozen=True)
class PretrainConfig(Checked):
    """All that decides a run's result. The defaults are the specification's original MAE."""

    preset: str = model("specified", "specified, tiny, vit_base, vit_large or vit_huge")
    img_size: int | None = model(None, "side of the model's input in pixels (preset's)", at_least=1)
    patch_size: int | None = model(None, "side of a patch in pixels (preset's)", at_least=1)
    decoder_depth: int | None = model(None, "blocks of the decoder (preset's)", at_least=1)
    epochs: int = schedule(10, "passes over the data set, or over images_per_epoch", at_least=1)
    images_per_epoch: int | None = schedule(None, "images an epoch sees (all, once)", at_least=1)
    equal_compute: bool = schedule(False, "fewer steps, to cost what a constant mask ratio does")
    batch_size: int = schedule(64, "images per step", at_least=1)
    accumulate: int = schedule(1, "parts in which a batch is computed, to save memory", at_least=1)
    lr: float = schedule(1.5e-4, "peak learning rate", above=0)
    warmup_epochs: float = schedule(2.0, "epochs of linear warm-up, before the cosine", at_least=0)
    weight_decay: float = schedule(0.05, "AdamW's weight decay", at_least=0)
    crop_scale: float = schedule(0.2, "smallest area of a crop, as a share", above=0, at_most=1)
    mask_ratio: float = masking(0.75, "share of patches hidden, at the end", above=0, below=1)
    mask_ratio_sched: str = masking("const", "const, linear, cosine, shuffled, reversed")
    mask_ratio_start: float = masking(0.5, "share hidden at a ramp's start", at_least=0, below=1)
    mask_ratio_warmup_epochs: float = masking(5.0, "epochs that the ramp lasts", at_least=0)
    mask_ratio_holds: int = masking(4, "times per epoch that a ramp changes the ratio", at_least=1)
    norm_pix: bool = loss(True, "predict patches normalised by their own statistics")
    target_blur: float = loss(0.0, "blur of the target, σ in pixels (a control)", at_least=0)
    lambda_freq: float = loss(0.0, "weight of the Laplacian loss", at_least=0)
    freq_form: str = loss("composite", f"Laplacian loss: {', '.join(FREQUENCY_FORMS)}")
    lambda_unif: float = loss(0.0, "weight of the uniformity loss", at_least=0)
    unif_t: float = loss(2.0, "of the uniformity loss: the larger, the closer its pairs", above=0)
    seed: int = run(0, "seed of weights, data order, crops and masks", at_least=0)
    precision: str = run("auto", "auto, fp32, bf16 or fp16")

    def build_model(self) -> MaskedAutoencoder:
        """A freshly initialised model: the same seed gives the same weights."""
        names = ("img_size", "patch_size", "decoder_depth")
        sizes = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would also seed every GPU.
            torch.default_generator.manual_seed(generator(self.seed, RNG.WEIGHTS).initial_seed())
            return MaskedAutoencoder.from_preset(self.preset, **sizes)

    def check(self) -> None:
        """Raise ValueError, naming the setting, if one is out of range or contradicts another."""
        super().check()
        for name, known in (("freq_form", FREQUENCY_FORMS), ("precision", ("auto", *PRECISIONS))):
            check_choice(name, getattr(self, name), known)
        if self.batch_size % self.accumulate:
            raise ValueError(f"A batch of {self.batch_size} cannot be cut into {self.accumulate} "
                             "equal parts: choose another accumulate.")
        if self.lambda_unif and (self.batch_size < 2 or self.accumulate > 1):
            raise ValueError("The uniformity loss compares all images of a batch with each other: "
                             "batch_size must be at least 2, and accumulate 1.")
        with torch.device("meta"):  # sizes that do not fit together raise here, without memory
            model = self.build_model()
        if self.lambda_freq and self.freq_form == "energy":
            # This form of the Laplacian loss filters each patch by itself.
            check_value("With freq_form energy, patch_size", model.patch_size, int, at_least=3)
        largest = max(self.mask_ratio, schedule_mask_ratio(0, 0, 1, self))
        num_visible_patches(model.num_patches, largest)


@dataclass(frozen=True)
class FineTuneConfig(Checked):
    """Fine-tuning after He et al. 2022, table 9, shortened and for fewer images.

    AdamW keeps the betas of pretraining, (0.9, 0.95). There is no RandAugment, mixup, CutMix or
    drop path, and the head starts at a standard deviation of 0.01.
    """

    epochs: int = fine_tuning(50, "epochs over the labelled images", at_least=1)
    batch_size: int = fine_tuning(128, "images per step", at_least=1)
    lr: float = fine_tuning(1e-3, "peak learning rate", above=0)
    warmup_epochs: float = fine_tuning(5.0, "epochs of linear warm-up", at_least=0)
    weight_decay: float = fine_tuning(0.05, "AdamW's weight decay", at_least=0)
    layer_decay: float = fine_tuning(0.75, "rate relative to the layer above", above=0, at_most=1)
    label_smoothing: float = fine_tuning(0.1, "label smoothing", at_least=0, below=1)
    crop_scale: float = fine_tuning(0.35, "smallest area of a crop, as a share", above=0, at_most=1)


def variant_settings(variant: str, base: dict | None = None) -> dict:
    """Settings of a variant: "original", "improved", add-ons, controls, NAME=VALUE, joined by "+".

    "curriculum+uniformity+lambda_unif=0.1" has the curriculum and a stronger uniformity loss.
    `base`, settings that others share, beats what a name stands for; NAME=VALUE beats both.
    Raises ValueError for an unknown name, an invalid value, or the seed, which no variant has.
    """
    improved = {name: value for add_on in ADD_ONS.values() for name, value in add_on.items()}
    named, explicit, known = {}, {}, {"original": {}, "improved": improved, **ADD_ONS, **CONTROLS}
    fields = {f.name: f for f in dataclasses.fields(PretrainConfig) if f.name != "seed"}
    for part in variant.split("+"):
        name, equals, text = part.partition("=")
        if part in known:
            named |= known[part]
        elif equals and name in fields:
            explicit[name] = cli.value_of(fields[name], text)
        else:
            raise ValueError(f"Unknown variant {variant!r}; use any of {', '.join(known)}, "
                             "or a setting such as lr=0.001, joined by '+'.")
    return {**named, **(base or {}), **explicit}


@dataclass(frozen=True)
class Recipe:
    """Settings of a whole comparison; all can be changed on the command line."""

    about: str
    pretrain: dict
    fine_tune: dict
    scratch: dict  # what training from scratch changes in fine_tune, besides layer_decay
    counts: tuple[int, int, int] | None = None  # how many scenes of each split
    label_counts: tuple[int, ...] = ()  # smaller label sets to probe and fine-tune with as well

    def fine_tunings(self, given: dict | None = None) -> tuple[FineTuneConfig, FineTuneConfig]:
        """How to fine-tune pretrained weights, and how to train from scratch.

        Layers that all start at random have no reason to learn at different rates.
        """
        tune = self.fine_tune | (given or {})
        scratch = self.fine_tune | self.scratch | (given or {}) | {"layer_decay": 1.0}
        return FineTuneConfig(**tune), FineTuneConfig(**scratch)


RECIPES = {
    "quick": Recipe(
        "tiny models, minutes on two cores",
        dict(preset="tiny", patch_size=8, decoder_depth=1, epochs=11, batch_size=32, lr=2e-3,
             warmup_epochs=1, crop_scale=0.5),
        dict(epochs=10, batch_size=32, lr=5e-3, layer_decay=0.6, warmup_epochs=2,
             label_smoothing=0, crop_scale=0.8),
        dict(lr=1e-3),
        counts=(8000, 1500, 2000), label_counts=(100, 250, 500, 1000)),
    "tuned": Recipe(
        "photographs at 64 pixels; a search on 24,000 of them chose the pretraining",
        dict(preset="specified", img_size=64, patch_size=8, decoder_depth=1, batch_size=32,
             lr=2.4e-3),
        dict(epochs=15, warmup_epochs=2, lr=0.012), dict(lr=0.001)),
    "specified": Recipe("the specification to the letter, for a GPU", {}, {}, {}),
}
