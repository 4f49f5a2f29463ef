"""Plausible wrong answers to the exercises of notebook 07, and what the check must say."""

RATE = """
import math
def schedule_learning_rate(epoch, step, iters, cfg):
    t, warmup, epochs = epoch + step / iters, cfg.warmup_epochs, cfg.epochs
    {}
    if t < warmup:
        return cfg.lr * t / warmup
    return cfg.lr * {}
"""
COSINE = "(1 + math.cos(math.pi * (t - warmup) / (epochs - warmup))) / 2"
SNAPSHOT = "import copy\ndef snapshot(model, optimizer, step): return {}"
COPIES = "copy.deepcopy(model.state_dict())", "copy.deepcopy(optimizer.state_dict())"

WRONG = {
    "schedule_learning_rate": [
        (RATE.format("t = epoch", COSINE), "Your rate changes only from one epoch to the next"),
        (RATE.format("", "(1 + math.cos(math.pi * t / epochs)) / 2"),
         "Your cosine starts at the very beginning"),
        (RATE.format("", "(1 + math.cos(math.pi * (t - warmup) / epochs)) / 2"),
         "Your cosine is too long"),
        (RATE.format("warmup = 0", COSINE), "The warm-up is missing"),
        (RATE.format("", "1"), "Your rate stays at its peak"),
        (RATE.format("", "(epochs - t) / (epochs - warmup)"), "falls in a straight line"),
        (RATE.format("", "2 * " + COSINE), "Your cosine starts at twice the peak"),
        (RATE.format("", COSINE.replace("math.pi", "2 * math.pi")), "makes a full turn"),
        (RATE.format("t = epoch + (step + 1) / iters", COSINE),
         "The very first step should have rate 0"),
        (RATE.format("", COSINE.replace("math.pi", "180")), "half a turn is math.pi"),
        (RATE.format("t = step / iters", COSINE), "over, at epoch 3, step 0 of 10"),
        (RATE.format("", "max(0.05, " + COSINE + ")"), "At the last step, at epoch 8, step 9"),
        (RATE.format("warm = t / warmup", COSINE), "With warmup_epochs=0"),
        (RATE.format("warmup = warmup or 1", COSINE), "should have the full rate"),
    ],
    "snapshot": [
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'step': step}}"),
         "The state has no 'optimizer'"),
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'optimizer': {COPIES[1]}}}"),
         "The state has no 'step'"),
        (SNAPSHOT.format("{'model': model.state_dict(), 'optimizer': optimizer.state_dict(), "
                         "'step': step}"), "moved when training went on"),
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'optimizer': optimizer.state_dict(), "
                         "'step': step}"), "Copy its state too"),
        (SNAPSHOT.format(f"{{'model': model, 'optimizer': {COPIES[1]}, 'step': step}}"),
         "store what its state_dict() returns"),
        (SNAPSHOT.format("copy.deepcopy(model.state_dict())"), "The state has no 'model'"),
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'optimizer': {COPIES[1]}, 'step': 0}}"),
         "should be 5, the number that was given"),
        (SNAPSHOT.format("{'model': {k: p.detach().clone() for k, p in model.named_parameters()}, "
                         f"'optimizer': {COPIES[1]}, 'step': step}}"), "has no pos_embed"),
    ],
}
