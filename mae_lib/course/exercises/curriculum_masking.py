"""Notebook 02: random masking, the schedule of the ratio, what is visible on average."""

import math
from collections.abc import Callable

import torch

from mae_lib import masking
from mae_lib.config import PretrainConfig
from mae_lib.course.exercises import (
    Mistake,
    call,
    close,
    exercise,
    number,
    require,
    require_gradient,
    require_one_device,
    require_right,
    require_tensor,
    several,
)


@exercise("Right: every image has its own visible patches, and ids_restore leads back to the "
          "original order.")
def random_masking(answer: Callable) -> None:
    torch.manual_seed(0)
    for length, ratio in ((16, 0.75), (30, 0.5), (9, 0.0), (49, 0.6)):
        x = torch.rand(3, length, 4, requires_grad=True)
        noise = torch.rand(3, length)
        right = masking.random_masking(x, ratio, noise)
        found = several(call(answer, x, ratio, noise), 3,
                        "Return three tensors: x_vis, mask, ids_restore.")
        again = call(answer, x, ratio, noise)[1]
        require(isinstance(again, torch.Tensor) and close(again, found[1]),
                "The mask changes from call to call although noise is given: draw noise only if it "
                "is None.")
        _explain_masking(found, right, x, noise)
        require_gradient(found[0], right[0], x)
    first, second = (call(answer, x, 0.75) for _ in range(2))
    require(not close(first[1], second[1]),
            "When noise is None, two calls give the same mask. Draw new noise in each call "
            "with torch.rand(B, L, device=x.device).")
    x_vis, mask, ids_restore = first
    require(not bool((mask == mask[0]).all()),
            "When noise is None, all images of a batch share a single mask. Draw a separate "
            "row of noise for each image.")
    place = (ids_restore < x_vis.shape[1]).float()
    require(x_vis.shape[1] == 12 and close(place, 1 - mask.float()),
            "Your function is right when noise is given. When noise is None, the three results "
            "do not belong together: draw the noise once and use it for all of them.")
    require_one_device(answer, x, 0.75)


def _explain_masking(found, right, x, noise) -> None:
    """Raise Mistake that names what is wrong with x_vis, mask or ids_restore."""
    (x_vis, mask, restore), (right_vis, right_mask, right_restore) = found, right
    visible, shuffle = right_vis.shape[1], noise.argsort(dim=1)
    require_tensor(mask, right_mask.shape, "mask")
    require(not close(mask, right_restore),
            "The second and the third result are swapped: return x_vis, mask, ids_restore.")
    require_tensor(restore, right_restore.shape, "ids_restore")
    require_right(restore, right_restore, {
        "Your ids_restore is ids_shuffle itself, which shuffles once more. A second argsort is "
        "missing: ids_shuffle.argsort(dim=1) is its inverse.": shuffle,
        "You sort across the images of the batch. Sort the patches of each image: argsort along "
        "dim=1, not dim=0.": noise.argsort(dim=0).argsort(dim=0),
        "You keep the patches with the largest noise. The ones with the smallest noise should "
        "stay visible.":
            (-noise).argsort(1).argsort(1),
        "Every image gets the order of the first one: sort each image's own noise, along dim=1.":
            right_restore[:1].expand_as(right_restore),
    }, "ids_restore should hold, for each patch, its place in the shuffled order: "
       "ids_shuffle.argsort(dim=1).")
    require_right(mask, right_mask, {
        "Your mask has 1 where a patch is visible; here 1 means hidden, 0 visible.":
            1 - right_mask,
        f"The mask is in shuffled order: its first {visible} columns are 0 for every image. A "
        "patch is visible if its place in the shuffled order, which ids_restore holds, is "
        f"below {visible}.":
            (torch.arange(x.shape[1]) >= visible).float().expand_as(right_mask),
        "Your mask comes from ids_shuffle, which holds patches, not places. The place of each "
        "patch is in ids_restore, the argsort of ids_shuffle.": (shuffle >= visible).float(),
    }, f"The mask leaves {int((mask == 0).sum(1)[0])} patches of the first image visible. It "
       f"should leave int(L · (1 − mask_ratio)) = {visible} of them visible, the ones with the "
       "smallest noise.")
    require(mask.dtype == right_mask.dtype, f"The mask is right, but of type {mask.dtype}. We "
            "compute 1 − mask and averages with it in float32, so add .float().")
    require(restore.dtype == torch.long, f"ids_restore is right, but of type {restore.dtype}. It "
            "is used as an index, so it should hold whole numbers: let argsort make it.")
    require_tensor(x_vis, right_vis.shape, "x_vis")
    ordered = masking.take_patches(x, shuffle[:, :visible].sort(dim=1).values)
    require_right(x_vis, right_vis, {
        "x_vis has the right patches, but they are sorted by place. Keep them in the shuffled "
        "order, which ids_restore undoes.": ordered,
        "x_vis is simply the first patches of x. Pick the patches that the first columns of "
        "ids_shuffle name.": x[:, :visible],
        "All images keep the same places as the first one. Gather with each image's own ids.":
            x[:, shuffle[0, :visible]],
        "You picked with ids_restore: it holds places, not patches. Pick with the first columns of "
        "ids_shuffle.": masking.take_patches(x, right_restore[:, :visible]),
    }, f"x_vis should hold the patches ids_shuffle[:, :{visible}] of each image.")


@exercise("Right: the ratio is constant, or it rises with every step along a line or a cosine "
          "and then stays level.")
def schedule_mask_ratio(answer: Callable) -> None:
    iters, epochs, length = 10, 8, 4
    time = torch.arange(epochs * iters) / iters  # in epochs
    for sched in ("const", "linear", "cosine"):
        cfg = PretrainConfig(mask_ratio_sched=sched, mask_ratio_start=0.3, mask_ratio=0.8,
                             mask_ratio_warmup_epochs=length)
        found = torch.tensor([number(call(answer, epoch, step, iters, cfg))
                              for epoch in range(epochs) for step in range(iters)])

        def ramp(progress, start=0.3, end=0.8, sched=sched):
            progress = progress.clamp(0, 1)
            if sched == "cosine":
                progress = (1 - torch.cos(math.pi * progress)) / 2
            return start + (end - start) * progress

        right = ramp(time / length) if sched != "const" else torch.full_like(time, 0.8)
        which, worst = f"With {sched!r}: ", int((found - right).abs().argmax())
        require(sched != "const" or bool((found == found[0]).all()),
                which + "the ratio should be mask_ratio at every step, without a ramp.")
        require_right(found, right, {
            which + "the ratio changes only from one epoch to the next. It should grow with "
                    "every step, because the time is epoch + step / iters.":
                ramp(time.floor() / length),
            which + "the ramp does not stop. Limit the progress to at most 1.":
                0.3 + 0.5 * time / length,
            which + "the ratio falls from the end to the start value. It should rise from "
                    "mask_ratio_start to mask_ratio.": ramp(time / length, 0.8, 0.3),
            which + "the ramp lasts the whole run. It should last "
                    f"cfg.mask_ratio_warmup_epochs epochs, which is {length} here.":
                ramp(time / epochs),
            which + "the ratio is mask_ratio_start throughout. It should " + (
                "be mask_ratio." if sched == "const" else
                "grow from mask_ratio_start to mask_ratio."):
                torch.full_like(time, 0.3),
            which + "the ratio does not change: it should grow from mask_ratio_start to "
            "mask_ratio.": torch.full_like(time, 0.8),
            which + "the ramp is a straight line, but cfg.mask_ratio_sched asks for a "
                    "different shape."
            if sched != "linear" else which + "the ramp is not a straight line. Use the cosine "
                                              "only if cfg.mask_ratio_sched is 'cosine'.":
                ramp(time / length, sched="linear" if sched != "linear" else "cosine"),
            which + "the ramp goes twice as far as it should: (1 − cos πp) / 2 goes from 0 to 1.":
                0.3 + 1.0 * (1 - torch.cos(math.pi * (time / length).clamp(0, 1))) / 2,
        }, f"{which}after {time[worst]:.1f} epochs of a ramp of {length}, the ratio should be "
           f"{right[worst]:.3f}, but yours is {found[worst]:.3f}.")
    cfg = PretrainConfig(mask_ratio_sched="linear", mask_ratio=0.8, mask_ratio_warmup_epochs=0)
    try:
        at_once = number(call(answer, 0, 0, 10, cfg))
    except ZeroDivisionError:
        raise Mistake("With mask_ratio_warmup_epochs=0 you divide by 0. Compute the progress only "
                      "while the time is below mask_ratio_warmup_epochs.") from None
    require(abs(at_once - 0.8) < 1e-6,
            "If the ramp lasts 0 epochs, the ratio should be mask_ratio from the first step on.")


@exercise("Right: a patch is either visible or not, so the count is rounded down at each step.")
def mean_visible(answer: Callable) -> None:
    for sched, length in (("linear", 64), ("cosine", 100)):
        cfg = PretrainConfig(mask_ratio_sched=sched, mask_ratio_start=0.3)
        ratios = [masking.schedule_mask_ratio(e, i, 50, cfg) for e in range(8) for i in range(50)]
        counts = [masking.num_visible_patches(length, ratio) for ratio in ratios]
        right, mean_ratio = sum(counts) / len(counts), sum(ratios) / len(ratios)
        found = number(call(answer, ratios, length))

        def near(value, found=found):
            return abs(found - value) < 0.004

        require(not near(right / length),
                f"{found:.3f} is a share of the patches; return their number, out of {length}.")
        require(not near(sum(counts)),
                "You return the sum over all steps: divide it by the number of steps.")
        require(not near(length - right),
                f"{found:.2f} is the mean number of hidden patches; count the visible ones.")
        require(not near(length * (1 - mean_ratio)),
                "No step sees half a patch, so drop the decimals with int() at each step and "
                "take the mean afterwards.")
        require(not near(int(length * (1 - mean_ratio))) and not near(int(right)),
                "The mean itself need not be a whole number: use int for the count of each step, "
                "not for the mean.")
        require(not near(counts[0]) and not near(counts[-1]),
                f"{found:g} is the number at one single step; take the mean over all of them.")
        require(near(right), f"With the {sched} ramp, {right:.2f} of {length} patches are "
                             f"visible on average, not {found:.2f}.")
