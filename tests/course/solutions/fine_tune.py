def fine_tune(encoder, head, optimizer, batch_at, iters, cfg):
    encoder.train()
    losses = []
    for step in range(cfg.epochs * iters):
        lr = schedule_learning_rate(step // iters, step % iters, iters, cfg)
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
        images, labels = batch_at(step)
        tokens, _, _ = encoder(images, mask_ratio=0.0)
        logits = head(tokens.mean(dim=1))
        loss = F.cross_entropy(logits, labels, label_smoothing=cfg.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)
