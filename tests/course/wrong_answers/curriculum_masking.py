"""Plausible wrong answers to the exercises of notebook 02, and what the check must say."""

RANDOM_MASK = """
def random_mask(noise, num_visible):
    ids_shuffle = noise.argsort(dim=1)
    ids_restore = ids_shuffle.argsort(dim=1)
    mask = (ids_restore >= num_visible).float()
    ids_keep = ids_shuffle[:, :num_visible]
    {}
    return ids_keep, mask, ids_restore
"""
UNSHUFFLE = """
def unshuffle(x_vis, ids_restore, hole):
    b, visible, d = x_vis.shape
    holes = hole.expand(b, ids_restore.shape[1] - visible, d)
    row = torch.cat([x_vis, holes], dim=1)
    ids = ids_restore
    {}
    return row.gather(1, ids[:, :, None].expand(-1, -1, d))
"""
LINEAR = """
def linear_ratio(epoch, step, iters, cfg):
    start, end, length = cfg.mask_ratio_start, cfg.mask_ratio, cfg.mask_ratio_warmup_epochs
    time = epoch + step / iters
    {}
    return start + (end - start) * min(time / length, 1)
"""
MEAN = """
from mae_lib import masking
def mean_visible(cfg, epochs, iters, length):
    ratios = [masking.schedule_mask_ratio(e, i, iters, cfg)
              for e in range(epochs) for i in range(iters)]
    counts = [masking.num_visible_patches(length, r) for r in ratios]
    return {}
"""

WRONG = {
    "random_mask": [
        (RANDOM_MASK.format("mask = 1 - mask"), "here 1 means masked"),
        (RANDOM_MASK.format("mask = (ids_restore > num_visible).float()"),
         "Your mask keeps 50 patches, expected 49"),
        (RANDOM_MASK.format("ids_restore = ids_shuffle"), "Its inverse is the argsort of it"),
        (RANDOM_MASK.format("mask = torch.ones_like(noise); mask[:, :num_visible] = 0"),
         "the mask in shuffled order"),
        (RANDOM_MASK.format("mask = (ids_shuffle >= num_visible).float()"),
         "You compare ids_shuffle with num_visible"),
        (RANDOM_MASK.format("ids_keep = ids_keep.sort(dim=1).values"), "sorted by place"),
        (RANDOM_MASK.format("mask = mask[:1].expand(len(noise), -1)"), "one and the same mask"),
        (RANDOM_MASK.format("return ids_keep, mask"), "Return three tensors"),
        (RANDOM_MASK.replace("noise.argsort(dim=1)", "noise.argsort(dim=1, descending=True)")
         .format(""), "You keep the patches with the largest noise"),
    ],
    "unshuffle": [
        (UNSHUFFLE.format("ids = ids_restore.argsort(dim=1)"), "You shuffled once more"),
        (UNSHUFFLE.format("return row"), "still in shuffled order"),
        (UNSHUFFLE.format("row = torch.cat([holes, x_vis], dim=1)"),
         "holes stand in front of the visible patches"),
        (UNSHUFFLE.format("return x_vis"), "should have shape (3, 8, 4), got (3, 3, 4)"),
        (UNSHUFFLE.format("ids = ids_restore[:1].expand(b, -1)"), "each has its own order"),
        (UNSHUFFLE.format("row = torch.cat([x_vis, torch.zeros_like(holes)], dim=1)"),
         "0 patches of the first image are the hole, expected 5"),
    ],
    "linear_ratio": [
        (LINEAR.format("time = epoch"), "time is epoch + step / iters"),
        (LINEAR.format("return start + (end - start) * time / length"), "Your ramp does not stop"),
        (LINEAR.format("start, end = end, start"), "falls from the end to the start"),
        (LINEAR.format("length = 8"), "lasts mask_ratio_warmup_epochs, which is 4 here"),
        (LINEAR.format("start = 0"), "Your ratio starts at 0"),
        (LINEAR.format("time = epoch + (step + 1) / iters"), "mask_ratio_start, 0.40; yours"),
        (LINEAR.format("return start + (end - start) * min(time / length, 1) ** 2"),
         "not a straight line"),
    ],
    "mean_visible": [
        (MEAN.format("sum(counts) / len(counts) / length"), "is a share of the patches"),
        (MEAN.format("sum(counts)"), "You return the sum over all steps"),
        (MEAN.format("length * (1 - sum(ratios) / len(ratios))"), "No step sees half a patch"),
        (MEAN.format("masking.num_visible_patches(length, cfg.mask_ratio)"),
         "is what the last epochs see"),
        (MEAN.format("sum(counts[:250]) / 250"), "the epochs after it count too"),
        (MEAN.format("sum(counts[iters - 1 :: iters]) / epochs"), "one step of every epoch"),
        (MEAN.format("sum(counts) / epochs"), "patches are visible on average, not"),
    ],
}
