"""Plausible wrong answers to the exercises of notebook 07, and what the check must say."""

RATE = """
import math
def learning_rate(epoch, step, iters, cfg):
    t, warmup, epochs = epoch + step / iters, cfg.warmup_epochs, cfg.epochs
    {}
    if t < warmup:
        return cfg.lr * t / warmup
    return cfg.lr * {}
"""
COSINE = "(1 + math.cos(math.pi * (t - warmup) / (epochs - warmup))) / 2"
DECAYS = "def decays(name, parameter): return {}"
SNAPSHOT = "import copy\ndef snapshot(model, optimizer, step): return {}"
SHARE = """
def share_of_batch(order, step, batch_size, rank, world):
    each = batch_size // world
    batch = order[step * batch_size : (step + 1) * batch_size]
    return {}
"""
COPIES = "copy.deepcopy(model.state_dict())", "copy.deepcopy(optimizer.state_dict())"

WRONG = {
    "learning_rate": [
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
    ],
    "decays": [
        (DECAYS.format("True"), "Everything decays in your version"),
        (DECAYS.format("parameter.ndim < 2 or name.endswith('_token')"), "the other way round"),
        (DECAYS.format("not name.endswith(('bias', '_token'))"), "is a norm's scale"),
        (DECAYS.format("parameter.ndim > 1"), "is a token, three dimensions or not"),
        (DECAYS.format("parameter.ndim == 2"), "though stored with four dimensions"),
        (DECAYS.format("'norm' not in name and not name.endswith('_token')"),
         "is a bias, a vector"),
        (DECAYS.format("parameter.ndim > 1 and 'token' not in name and 'decoder' not in name"),
         "is a matrix: it decays"),
        (DECAYS.format("0.05"), "Return True or False"),
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
    ],
    "share_of_batch": [
        (SHARE.format("batch"), "is for all 4 together"),
        (SHARE.format("batch[:each]"), "All processes get the same images"),
        (SHARE.format("batch[rank::world]"), "dealt out like cards"),
        (SHARE.format("order[rank::world][step * each : (step + 1) * each]"),
         "dealt out like cards"),
        (SHARE.format("order[rank * len(order) // world :][step * each : (step + 1) * each]"),
         "Cut the batch, not the data set"),
        (SHARE.format("order.chunk(world)[step].chunk(world)[rank]"), "should have shape (6,)"),
        (SHARE.format("order[(step + 1) * batch_size + rank * each :][:each]"),
         "yours have others"),
        (SHARE.format("batch[(world - 1 - rank) * each : (world - rank) * each]"),
         "in another order than in the batch"),
    ],
}
