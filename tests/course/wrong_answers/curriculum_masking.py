"""Plausible wrong answers to the exercises of notebook 02, and what the check must say."""

from slips import slip

MEAN = """
def mean_visible(ratios, length):
    counts = [int(length * (1 - ratio)) for ratio in ratios]
    return {}
"""

# The schedule with a limit to its progress, as most would write it.
LIMITED = ((" or time >= cfg.mask_ratio_warmup_epochs", " or cfg.mask_ratio_warmup_epochs <= 0"),
           ("time / cfg.mask_ratio_warmup_epochs",
            "min(time / cfg.mask_ratio_warmup_epochs, 1.0)"))

# The mask by writing to it, at places of which a GPU accepts those on the CPU.
SCATTERED = slip("random_masking", (
    "    return x_vis, (ids_restore >= visible).float(), ids_restore",
    "    mask = torch.ones(b, length, device=x.device)\n"
    "    mask[torch.arange(b)[:, None], ids_shuffle[:, :visible]] = 0\n"
    "    return x_vis, mask, ids_restore"))

WRONG = {
    "random_masking": [
        (slip("random_masking", ("ids_restore >= visible", "ids_restore < visible")),
         "here 1 means hidden"),
        (slip("random_masking", ("(ids_restore >= visible)", "(ids_shuffle >= visible)")),
         "Your mask comes from ids_shuffle"),
        (slip("random_masking", ("(ids_restore >= visible)",
                                 "(torch.arange(length).expand(b, -1) >= visible)")),
         "The mask is in shuffled order"),
        (slip("random_masking", ("noise.argsort(dim=1)", "noise.argsort(dim=1, descending=True)")),
         "the patches with the largest noise"),
        (slip("random_masking", ("noise.argsort(dim=1)", "noise.argsort(dim=0)"),
              ("ids_shuffle.argsort(dim=1)", "ids_shuffle.argsort(dim=0)")),
         "You sort across the images"),
        (slip("random_masking", ("if noise is None", "if True")), "draw noise only if it is None"),
        (slip("random_masking", ("if noise is None", "if not noise")), "write noise is None"),
        (slip("random_masking", (", device=x.device", "")), "On a GPU this would stop"),
        (SCATTERED.replace("= 0\n", "= torch.zeros(b, visible)\n"), "On a GPU this would stop"),
        (slip("random_masking", ("noise.argsort(dim=1)", "torch.from_numpy(noise.numpy()"
                                 ".argsort(axis=1))")), "because NumPy reads only tensors on the"),
        (slip("random_masking", ("ids_shuffle.argsort(dim=1)", "ids_shuffle.argsort(1).float()")),
         "it should hold whole numbers"),
        (slip("random_masking", ("visible).float()", "visible).double()")), "type torch.float64"),
        (slip("random_masking", ("[:, :visible, None]", "[:, : visible - length, None]")),
         "x_vis should have shape (3, 9, 4)"),
        (slip("random_masking", ("ids_shuffle.argsort(dim=1)", "ids_shuffle")),
         "A second argsort is missing"),
        (slip("random_masking", ("ids_shuffle.argsort(dim=1)", "ids_shuffle"),
              ("(ids_restore >= visible)", "(ids_shuffle.argsort(1) >= visible)")),
         "which shuffles once more"),
        (slip("random_masking", ("visible).float(), ids_restore",
                                 "visible).float(), ids_restore.flip(1)")),
         "for each patch, its place"),
        (slip("random_masking", ("visible).float(), ids_restore",
                                 "visible).float(), ids_restore[:1].expand(b, -1)")),
         "gets the order of the first one"),
        (slip("random_masking", ("visible).float(), ids_restore", "visible), ids_restore")),
         "of type torch.bool"),
        (slip("random_masking", ("(ids_restore >= visible).float(), ids_restore",
                                 "ids_restore, (ids_restore >= visible).float()")),
         "are swapped"),
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
                                 "torch.rand(1, length).expand(b, -1)")), "share a single mask"),
        (slip("random_masking", ("torch.rand(b, length, device=x.device)",
                                 "torch.linspace(0, 1, length).expand(b, -1)")),
         "two calls give the same mask"),
    ],
    "schedule_mask_ratio": [
        (slip("schedule_mask_ratio", ("epoch + step / iters", "epoch")),
         "With 'linear': the ratio changes only from one epoch"),
        (slip("schedule_mask_ratio", ("time >= cfg.mask_ratio_warmup_epochs",
                                      "cfg.mask_ratio_warmup_epochs <= 0")),
         "With 'linear': the ramp does not stop"),
        (slip("schedule_mask_ratio", ('cfg.mask_ratio_sched == "cosine"', "False")),
         "With 'cosine': the ramp is a straight line"),
        (slip("schedule_mask_ratio", ('cfg.mask_ratio_sched == "cosine"', "True")),
         "With 'linear': the ramp is not a straight line"),
        (slip("schedule_mask_ratio", *LIMITED,
              ("cfg.mask_ratio_start + (cfg", "cfg.mask_ratio + (cfg"),
              ("(cfg.mask_ratio - cfg.mask_ratio_start)", "(cfg.mask_ratio_start - "
               "cfg.mask_ratio)")), "falls from the end to the start"),
        (slip("schedule_mask_ratio", *LIMITED, ("math.pi * progress)) / 2",
                                                "math.pi * progress))")),
         "goes twice as far"),
        (slip("schedule_mask_ratio", *LIMITED, ("/ cfg.mask_ratio_warmup_epochs, 1", "/ 8, 1")),
         "the ramp lasts the whole run"),
        (slip("schedule_mask_ratio", ('cfg.mask_ratio_sched == "const" or ', "")),
         "With 'const': the ratio should be mask_ratio at every step"),
        (slip("schedule_mask_ratio", ("return cfg.mask_ratio_start + (cfg.mask_ratio - "
                                      "cfg.mask_ratio_start) * progress",
                                      "return min(cfg.mask_ratio, cfg.mask_ratio_start + "
                                      "1.2 * (cfg.mask_ratio - cfg.mask_ratio_start) * progress)")),
         "epochs of a ramp of 4, the ratio should be"),
        (slip("schedule_mask_ratio", *LIMITED, (" or cfg.mask_ratio_warmup_epochs <= 0", "")),
         "With mask_ratio_warmup_epochs=0 you divide by 0"),
        (slip("schedule_mask_ratio", ("(cfg.mask_ratio - cfg.mask_ratio_start) * progress",
                                      "cfg.mask_ratio_start * progress")),
         "epochs of a ramp of 4, the ratio should be"),
        ("def schedule_mask_ratio(epoch, step, iters, cfg): return cfg.mask_ratio",
         "With 'linear': the ratio does not change"),
    ],
    "mean_visible": [
        (MEAN.format("sum(counts) / len(counts) / length"), "is a share of the patches"),
        (MEAN.format("sum(counts)"), "You return the sum over all steps"),
        (MEAN.format("length - sum(counts) / len(counts)"), "number of hidden patches"),
        (MEAN.format("length * (1 - sum(ratios) / len(ratios))"), "No step sees half a patch"),
        (MEAN.format("int(length * (1 - sum(ratios) / len(ratios)))"), "not for the mean"),
        (MEAN.format("sum(counts) // len(counts)"), "not for the mean"),
        (MEAN.format("counts[-1]"), "is the number at one single step"),
        (MEAN.format("sum(counts[:250]) / 250"), "patches are visible on average, not"),
    ],
}

ALSO_RIGHT = {"random_masking": [SCATTERED]}
