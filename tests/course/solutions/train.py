def train(model, optimizer, batch_at, iters, cfg, start=0):
    model.train()
    losses = []
    for step in range(start, cfg.epochs * iters):
        epoch, i = divmod(step, iters)
        lr = schedule_learning_rate(epoch, i, iters, cfg)
        mask_ratio = schedule_mask_ratio(epoch, i, iters, cfg)
        loss = train_step(model, optimizer, batch_at(step), lr, mask_ratio, cfg)
        losses.append(loss)
    return torch.stack(losses)
