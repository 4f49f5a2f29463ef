"""Plausible wrong answers to the exercises of notebook 02, and what the check must say."""

from slips import slip

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
        (RANDOM_MASK.format("ids_restore = ids_restore.flip(1)"), "runs backwards"),
        (RANDOM_MASK.format("ids_restore = torch.arange(196).expand(3, -1)"),
         "for each patch, its place in the shuffled order"),
        (RANDOM_MASK.format("ids_restore = ids_restore.roll(1, dims=0)"),
         "for each patch, its place in the shuffled order"),
        (RANDOM_MASK.replace("noise.argsort(dim=1)", "noise.argsort(dim=1, descending=True)")
         .format(""), "You keep the patches with the largest noise"),
    ],
    "random_masking": [
        (slip("random_masking", ("ids_restore >= visible", "ids_restore < visible")),
         "here 1 means hidden"),
        (slip("random_masking", ("(ids_restore >= visible)", "(ids_shuffle >= visible)")),
         "You compare ids_shuffle"),
        (slip("random_masking", ("(ids_restore >= visible)",
                                 "(torch.arange(length).expand(b, -1) >= visible)")),
         "The mask is in shuffled order"),
        (slip("random_masking", ("noise.argsort(dim=1)", "noise.argsort(dim=1, descending=True)")),
         "the patches with the largest noise"),
        (slip("random_masking", ("ids_shuffle.argsort(dim=1)", "ids_shuffle"),
              ("(ids_restore >= visible)", "(ids_shuffle.argsort(1) >= visible)")),
         "Its inverse is the argsort of it"),
        (slip("random_masking", ("visible).float(), ids_restore",
                                 "visible).float(), ids_restore.flip(1)")),
         "for each patch, its place"),
        (slip("random_masking", ("visible).float(), ids_restore",
                                 "visible).float(), ids_restore[:1].expand(b, -1)")),
         "the same for every image"),
        (slip("random_masking", ("ids_shuffle[:, :visible, None]",
                                 "ids_shuffle[:, :visible].sort(dim=1).values[:, :, None]")),
         "sorted by place"),
        (slip("random_masking", ("ids_shuffle[:, :visible, None]", "ids_restore[:, :visible, None]")
              ), "You picked with ids_restore"),
        (slip("random_masking", ("x_vis = x.gather", "x_vis = x[:, :visible] if True else x.gather")
              ), "simply the first patches"),
        (slip("random_masking", ("x_vis = x.gather", "x_vis = x.detach().gather")), "no gradient"),
        (slip("random_masking", ("int(length * (1 - mask_ratio))", "int(length * mask_ratio)")),
         "patches of the first image visible"),
        (slip("random_masking", ("torch.rand(b, length, device=x.device)",
                                 "torch.rand(1, length).expand(b, -1)")), "get one mask"),
        (slip("random_masking", ("torch.rand(b, length, device=x.device)",
                                 "torch.linspace(0, 1, length).expand(b, -1)")),
         "two calls give the same mask"),
    ],
    "schedule_mask_ratio": [
        (slip("schedule_mask_ratio", ("epoch + step / iters", "epoch")),
         "With 'linear': the ratio changes only from one epoch"),
        (slip("schedule_mask_ratio", ("min((epoch + step / iters) / cfg.mask_ratio_warmup_epochs, "
                                      "1.0)", "(epoch + step / iters) / "
                                      "cfg.mask_ratio_warmup_epochs")),
         "With 'linear': the ramp does not stop"),
        (slip("schedule_mask_ratio", ('cfg.mask_ratio_sched == "cosine"', "False")),
         "With 'cosine': the ramp is a straight line"),
        (slip("schedule_mask_ratio", ('cfg.mask_ratio_sched == "cosine"', "True")),
         "With 'linear': the ramp is no straight line"),
        (slip("schedule_mask_ratio", ("cfg.mask_ratio_start + (cfg", "cfg.mask_ratio + (cfg"),
              ("(cfg.mask_ratio - cfg.mask_ratio_start)", "(cfg.mask_ratio_start - "
               "cfg.mask_ratio)")), "falls from the end to the start"),
        (slip("schedule_mask_ratio", ("math.pi * progress)) / 2", "math.pi * progress))")),
         "starts at twice the way"),
        (slip("schedule_mask_ratio", ("/ cfg.mask_ratio_warmup_epochs, 1", "/ 8, 1")),
         "the ramp lasts the whole run"),
        (slip("schedule_mask_ratio", ('cfg.mask_ratio_sched == "const" or ', "")),
         "With 'const': the ramp is a straight line"),
        (slip("schedule_mask_ratio", (" or cfg.mask_ratio_warmup_epochs <= 0", "")),
         "Your code stopped with ZeroDivisionError"),
        ("def schedule_mask_ratio(epoch, step, iters, cfg): return cfg.mask_ratio",
         "With 'linear': the ratio does not change"),
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
