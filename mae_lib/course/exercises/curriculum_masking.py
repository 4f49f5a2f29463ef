"""Notebook 02: masks from noise, undoing the shuffle, the ramps, what stays on average."""

import math
from collections.abc import Callable

import torch

from mae_lib import masking
from mae_lib.config import PretrainConfig
from mae_lib.course.exercises import (
    call,
    close,
    exercise,
    number,
    require,
    require_gradient,
    require_right,
    require_tensor,
    several,
)


@exercise("Right: each image has its own random mask, and ids_restore knows the way back.")
def random_mask(answer: Callable) -> None:
    noise = torch.rand(3, 196, generator=torch.Generator().manual_seed(0))
    for num_visible in (49, 98):
        keep, mask, restore = several(call(answer, noise, num_visible), 3,
                                      "Return three tensors: ids_keep, mask, ids_restore.")
        expected_keep, expected_mask, expected_restore = masking.random_mask_ids(noise, num_visible)
        shuffle = noise.argsort(dim=1)
        require_tensor(mask, noise.shape, "mask")
        mask = mask.float()
        require(not close(mask, 1 - expected_mask),
                "Your mask has 1 where a patch is visible; here 1 means masked, 0 visible.")
        first = (torch.arange(196) >= num_visible).float().expand(3, -1)
        require(not close(mask, first),
                f"Your mask hides all but the first {num_visible} patches of every image: that is "
                "the mask in shuffled order. Ask for each patch whether its place is "
                f"{num_visible} or more.")
        require(not close(mask, (shuffle >= num_visible).float()),
                "You compare ids_shuffle with num_visible: it holds patches, not places. The place "
                "of each patch is in ids_restore.")
        kept = (mask == 0).sum(dim=1)
        require(bool((kept == num_visible).all()),
                f"Your mask keeps {kept[0]} patches, expected {num_visible}.")
        require(not (mask == mask[0]).all(),
                "All images have one and the same mask: sort every row of the noise, dim=1.")
        backwards = masking.random_mask_ids(-noise, num_visible)[1]
        require(not close(mask, backwards),
                "You keep the patches with the largest noise: here the smallest stay visible.")
        require(close(mask, expected_mask),
                f"The mask hides other patches than expected: the {num_visible} smallest values "
                "of each row stay visible.")
        require_tensor(keep, expected_keep.shape, "ids_keep")
        require(not close(keep, expected_keep.sort(dim=1).values),
                "Your ids_keep are the right patches, but sorted by place; keep the shuffled "
                "order, which ids_restore undoes.")
        require(close(keep, expected_keep),
                f"ids_keep should be the first {num_visible} columns of ids_shuffle.")
        require_tensor(restore, noise.shape, "ids_restore")
        require(not close(restore, shuffle),
                "Your ids_restore is ids_shuffle itself, which shuffles once more. Its inverse is "
                "the argsort of it.")
        backwards = expected_restore.flip(1)
        require(not close(restore, backwards) and not close(restore, 195 - expected_restore),
                "Your ids_restore runs backwards: it is ids_shuffle.argsort(dim=1) as it comes.")
        require(close(restore, expected_restore), "ids_restore should hold, for each patch, its "
                                                  "place in the shuffled order.")


@exercise("Right: every image has its own visible patches, and the way back is known.")
def random_masking(answer: Callable) -> None:
    torch.manual_seed(0)
    for length, ratio in ((16, 0.75), (30, 0.5), (49, 0.6)):
        x = torch.rand(3, length, 4, requires_grad=True)
        noise = torch.rand(3, length)
        right = masking.random_masking(x, ratio, noise)
        found = several(call(answer, x, ratio, noise), 3,
                        "Return three tensors: x_vis, mask, ids_restore.")
        _explain_masking(found, right, x, noise)
        require_gradient(found[0], right[0], x)
    first, second = (call(answer, x, 0.75) for _ in range(2))
    require(not close(first[1], second[1]),
            "Without noise two calls give the same mask: draw new noise, torch.rand(B, L), if it "
            "is None.")
    x_vis, mask, ids_restore = first
    require(not bool((mask == mask[0]).all()),
            "Without noise all images of a batch get one mask: draw a row of noise for each.")
    place = (ids_restore < x_vis.shape[1]).float()
    require(x_vis.shape[1] == 12 and close(place, 1 - mask.float()),
            "With noise it is right; without noise the three results do not belong together: draw "
            "the noise once and use it for all of them.")


def _explain_masking(found, right, x, noise) -> None:
    """Raise Mistake that names what is wrong with x_vis, mask or ids_restore."""
    (x_vis, mask, restore), (right_vis, right_mask, right_restore) = found, right
    visible, shuffle = right_vis.shape[1], noise.argsort(dim=1)
    require_tensor(mask, right_mask.shape, "mask")
    require_right(mask, right_mask, {
        "Your mask has 1 where a patch is visible; here 1 means hidden, 0 visible.":
            1 - right_mask,
        f"The mask is in shuffled order: its first {visible} columns are 0 for every image. Ask "
        "for each patch whether its place, ids_restore, is among the visible ones.":
            (torch.arange(x.shape[1]) >= visible).float().expand_as(right_mask),
        "You compare ids_shuffle with the number of visible patches: it holds patches, not places. "
        "The place of each patch is in ids_restore.": (shuffle >= visible).float(),
        "You keep the patches with the largest noise: here the smallest stay visible.":
            ((-noise).argsort(1).argsort(1) >= visible).float(),
    }, f"The mask leaves {int((mask == 0).sum(1)[0])} patches of the first image visible; it "
       f"should leave the {visible} with the smallest noise, int(L · (1 − mask_ratio)) of them.")
    require_tensor(restore, right_restore.shape, "ids_restore")
    require_right(restore, right_restore, {
        "Your ids_restore is ids_shuffle itself, which shuffles once more. Its inverse is the "
        "argsort of it.": shuffle,
        "Your ids_restore is the same for every image: argsort along dim=1.":
            right_restore[:1].expand_as(right_restore),
    }, "ids_restore should hold, for each patch, its place in the shuffled order: "
       "ids_shuffle.argsort(dim=1).")
    require_tensor(x_vis, right_vis.shape, "x_vis")
    ordered = masking.take_patches(x, shuffle[:, :visible].sort(dim=1).values)
    require_right(x_vis, right_vis, {
        "x_vis has the right patches, but sorted by place; keep the shuffled order, which "
        "ids_restore undoes.": ordered,
        "x_vis is simply the first patches of x: pick those of ids_shuffle.": x[:, :visible],
        "All images keep the patches of the first one: gather with the ids of each image.":
            x[:, shuffle[0, :visible]],
        "You picked with ids_restore: it holds places, not patches. Pick with the first columns of "
        "ids_shuffle.": masking.take_patches(x, right_restore[:, :visible]),
    }, f"x_vis should hold the patches ids_shuffle[:, :{visible}] of each image.")


@exercise("Right: constant, straight or with a cosine, step by step, then level.")
def schedule_mask_ratio(answer: Callable) -> None:
    iters, epochs, length = 10, 8, 4
    time = torch.arange(epochs * iters) / iters  # in epochs
    for sched in ("const", "linear", "cosine"):
        cfg = PretrainConfig(mask_ratio_sched=sched, mask_ratio_start=0.4, mask_ratio=0.8,
                             mask_ratio_warmup_epochs=length)
        found = torch.tensor([number(call(answer, epoch, step, iters, cfg))
                              for epoch in range(epochs) for step in range(iters)])

        def ramp(progress, start=0.4, end=0.8, sched=sched):
            progress = progress.clamp(0, 1)
            if sched == "cosine":
                progress = (1 - torch.cos(math.pi * progress)) / 2
            return start + (end - start) * progress

        right = ramp(time / length) if sched != "const" else torch.full_like(time, 0.8)
        which = f"With {sched!r}: "
        require_right(found, right, {
            which + "the ratio changes only from one epoch to the next; it should grow with every "
            "step: time is epoch + step / iters.": ramp(time.floor() / length),
            which + "the ramp does not stop: let the progress end at 1.":
                0.4 + 0.4 * time / length,
            which + "the ratio falls from the end to the start: it should begin with "
            "mask_ratio_start.": ramp(time / length, 0.8, 0.4),
            which + f"the ramp lasts the whole run; it should last mask_ratio_warmup_epochs, "
            f"{length} here.": ramp(time / epochs),
            which + "the ratio is mask_ratio_start throughout; it should be mask_ratio.":
                torch.full_like(time, 0.4),
            which + "the ratio does not change: it should grow from mask_ratio_start to "
            "mask_ratio.": torch.full_like(time, 0.8),
            which + "the ramp is a straight line; cfg.mask_ratio_sched asks for another course."
            if sched != "linear" else which + "the ramp is no straight line.":
                ramp(time / length, sched="linear" if sched != "linear" else "cosine"),
            which + "the cosine starts at twice the way: (1 − cos πp) / 2 goes from 0 to 1.":
                0.4 + 0.8 * (1 - torch.cos(math.pi * (time / length).clamp(0, 1))) / 2,
        }, f"{which}after {time[17]:.1f} of {length} epochs the ratio should be {right[17]:.3f}, "
           f"yours is {found[17]:.3f}.")
    cfg = PretrainConfig(mask_ratio_sched="linear", mask_ratio=0.8, mask_ratio_warmup_epochs=0)
    require(abs(number(call(answer, 0, 0, 10, cfg)) - 0.8) < 1e-6,
            "With a ramp of 0 epochs the ratio should be mask_ratio from the first step on.")


@exercise("Right: what was seen is back in its place, and a hole wherever a patch was hidden.")
def unshuffle(answer: Callable) -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.rand(3, 8, d, generator=generator) for d in (4, 1))
    ids_keep, mask, ids_restore = masking.random_mask_ids(noise[..., 0], 3)
    x_vis, hole = masking.take_patches(x, ids_keep), torch.full((4,), -1.0)
    found = call(answer, x_vis, ids_restore, hole)
    require_tensor(found, x.shape, "unshuffle(x_vis, ids_restore, hole)")
    row = torch.cat([x_vis, hole.expand(3, 5, 4)], dim=1)

    def take(ids):
        return masking.take_patches(row, ids)

    require(not close(found, row), "The holes are there, but everything is still in shuffled "
                                   "order: take from the row by ids_restore.")
    require(not close(found, take(ids_restore.argsort(dim=1))),
            "You shuffled once more: taking by the argsort of ids_restore is taking by "
            "ids_shuffle. ids_restore already is the way back.")
    front = torch.cat([hole.expand(3, 5, 4), x_vis], dim=1)
    require(not close(found, masking.take_patches(front, ids_restore)),
            "The holes stand in front of the visible patches: in the shuffled order the visible "
            "ones come first, then the hidden ones.")
    require(not close(found, take(ids_restore[:1].expand(3, -1))),
            "All images were restored with the first one's ids_restore; each has its own order.")
    empty = (found == -1).all(dim=2)
    require(bool((empty.sum(dim=1) == 5).all()),
            f"{int(empty[0].sum())} patches of the first image are the hole, expected 5: every "
            "hidden patch gets the vector you were given.")
    expected = torch.where(mask[:, :, None] > 0, hole, x)
    require(close(found, expected), "Some patches are not where they came from: patch i is at "
                                    "place ids_restore[i] of the shuffled row.")


@exercise("Right: a straight line per step, then level. The package's own does the same.")
def linear_ratio(answer: Callable) -> None:
    cfg = PretrainConfig(mask_ratio_sched="linear", mask_ratio_start=0.4, mask_ratio=0.8,
                         mask_ratio_warmup_epochs=4)
    iters, total = 10, 8
    steps = [(epoch, step) for epoch in range(total) for step in range(iters)]
    found = torch.tensor([float(call(answer, *at, iters, cfg)) for at in steps])
    time = torch.arange(total * iters) / iters  # in epochs

    def ramp(progress, start=0.4, end=0.8):
        return start + (end - start) * progress.clamp(0, 1)

    require(not close(found, ramp(time.floor() / 4)),
            "Your ratio changes only from one epoch to the next; it should grow with every step: "
            "time is epoch + step / iters.")
    require(not close(found, 0.4 + 0.4 * time / 4),
            f"Your ramp does not stop: in epoch {total - 1} the ratio is {found[-10]:.2f}. Let the "
            "progress end at 1.")
    require(not close(found, ramp(time / 4, 0.8, 0.4)),
            "Your ratio falls from the end to the start: it should begin with mask_ratio_start.")
    require(not close(found, ramp(time / total)) and not close(found, ramp(time / 5)),
            "Your ramp has another length: it lasts mask_ratio_warmup_epochs, which is 4 here.")
    require(not close(found, ramp(time / 4, 0.0, 0.8)) and not close(found, ramp(time / 4, 0, 0.4)),
            "Your ratio starts at 0: begin with mask_ratio_start and add the way to mask_ratio.")
    require(abs(found[0] - 0.4) < 1e-4,
            f"The first step of all should have mask_ratio_start, 0.40; yours has {found[0]:.2f}.")
    require(bool((found[4 * iters:] - 0.8).abs().max() < 1e-4),
            f"After the ramp the ratio should be mask_ratio, 0.80; yours is {found[-1]:.2f}.")
    require(close(found, ramp(time / 4)), "The ends are right, but it is not a straight line "
                                          f"between them: halfway you have {found[20]:.2f}.")


@exercise("Right: what counts for the price is how many patches the encoder sees at each step.")
def mean_visible(answer: Callable) -> None:
    for sched in ("linear", "cosine"):
        cfg = PretrainConfig(mask_ratio_sched=sched, mask_ratio_start=0.3)
        epochs, iters, length = 8, 50, 64
        ratios = [masking.schedule_mask_ratio(e, i, iters, cfg)
                  for e in range(epochs) for i in range(iters)]
        counts = torch.tensor([masking.num_visible_patches(length, r) for r in ratios]).double()
        found = float(call(answer, cfg, epochs, iters, length))
        right = counts.mean().item()

        def near(value, found=found):
            return abs(found - value) < 0.004

        require(not near(right / length), f"{found:.3f} is a share of the patches; return their "
                                          f"number, out of {length}.")
        require(not near(counts.sum().item()),
                "You return the sum over all steps: divide it by their number.")
        require(not near(length * (1 - sum(ratios) / len(ratios))),
                "You rounded nothing, or to the nearest number. No step sees half a patch: cut off "
                "at each step, as num_visible_patches does, then take the mean.")
        require(not near(masking.num_visible_patches(length, cfg.mask_ratio)),
                f"{found:g} is what the last epochs see; the ramp before them sees more.")
        require(not near(counts[: 5 * iters].mean().item()),
                f"{found:.2f} is the mean over the ramp; the epochs after it count too.")
        ends = counts[iters - 1 :: iters].mean().item()
        starts = counts[::iters].mean().item()
        require(not near(ends) and not near(starts),
                "You take one step of every epoch; the ratio changes within an epoch as well.")
        require(near(right), f"With the {sched} ramp {right:.2f} of {length} patches are visible "
                             f"on average, not {found:.2f}.")
