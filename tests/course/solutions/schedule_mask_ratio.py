def schedule_mask_ratio(epoch, step, iters, cfg):
    time = epoch + step / iters
    if cfg.mask_ratio_sched == "const" or time >= cfg.mask_ratio_warmup_epochs:
        return cfg.mask_ratio
    progress = time / cfg.mask_ratio_warmup_epochs
    if cfg.mask_ratio_sched == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return cfg.mask_ratio_start + progress * (cfg.mask_ratio - cfg.mask_ratio_start)
