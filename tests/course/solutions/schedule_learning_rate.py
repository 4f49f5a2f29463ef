def schedule_learning_rate(epoch, step, iters, cfg):
    time = epoch + step / iters  # in epochs
    if time < cfg.warmup_epochs:
        return cfg.lr * time / cfg.warmup_epochs
    progress = (time - cfg.warmup_epochs) / (cfg.epochs - cfg.warmup_epochs)
    return cfg.lr * (1 + math.cos(math.pi * progress)) / 2
