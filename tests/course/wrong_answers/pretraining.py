"""Plausible wrong answers to the exercises of notebook 07, and what the check must say."""

from slips import slip

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
        (RATE.format("", COSINE.replace("t - warmup", "t")), "cosine should be 0 there"),
        (RATE.format("t = epoch + step", COSINE), "Your time is not in epochs"),
        (RATE.format("t = epoch * iters + step", COSINE), "Your time is not in epochs"),
        (RATE.format("t = step + epoch / iters", COSINE), "Your time is not in epochs"),
        (RATE.format("", COSINE).replace("cfg.lr * t", "t"), "Multiply by cfg.lr, the peak"),
        (RATE.format("", COSINE).replace("cfg.lr * ", ""), "Multiply by cfg.lr, the peak"),
        (RATE.format("", COSINE).replace("* t / warmup", ""),
         "yours is 0.400. During the warm-up it is"),
        (RATE.format("", COSINE).replace("t < warmup", "t > warmup"),
         "yours is 0.200. During the warm-up it is"),
        (RATE.format("", COSINE).replace("t < warmup", "epoch < warmup"),
         "should be 0.399; yours is 0.640. Compare t, not epoch"),
        (RATE.format("warmup = int(warmup)", COSINE), "and do not round either"),
        (RATE.format("", "max(0.05, " + COSINE + ")"), "to its end, with no lower limit"),
        (RATE.format("warm = t / warmup", COSINE), "With warmup_epochs=0"),
        (RATE.format("warmup = warmup or 1", COSINE), "should have the full rate"),
    ],
    "parameter_groups": [
        (slip("parameter_groups", (' or name.endswith("_token")', "")),
         "encoder.cls_token is a token (its name"),
        (slip("parameter_groups", ("parameter.ndim < 2", 'name.endswith("bias")')),
         "is a vector (a bias or a norm's scale)"),
        (slip("parameter_groups", ("parameter.ndim < 2", "parameter.ndim != 2")),
         "though stored with four dimensions"),
        (slip("parameter_groups", ("(others if alone", "(matrices if alone"),
              ("else matrices)", "else others)")), "the other way round"),
        (slip("parameter_groups", ('"weight_decay": 0.0', '"weight_decay": weight_decay')),
         "give biases, norms and tokens"),
        (slip("parameter_groups", ('"weight_decay": weight_decay', '"weight_decay": 0.0')),
         "give the matrices the weight_decay"),
        (slip("parameter_groups", ('"weight_decay": weight_decay', '"weight_decay": 0.05')),
         "The weight decay of each group should be 0.3"),
        ("def parameter_groups(model, weight_decay):\n"
         "    return [{'params': [p for p in model.parameters() if p.ndim > 1],\n"
         "             'weight_decay': weight_decay}]", "is in no group"),
        ("def parameter_groups(model, weight_decay):\n    return list(model.parameters())",
         "Return a list of dicts"),
        ("def parameter_groups(model, weight_decay):\n"
         "    return [{'params': list(model.parameters())}]", "one of yours has only 'params'."),
        ("def parameter_groups(model, weight_decay):\n"
         "    return [{'params': list(model.parameters()), 'weight_decay': 0}, {}]",
         "one of yours is empty."),
        (slip("parameter_groups", (".append(parameter)", ".append((name, parameter))")),
         "of each pair (name, parameter), keep the second"),
        (slip("parameter_groups", ('"params": others', '"params": [p for p in model.parameters() '
                                   'if p not in matrices]')), "or id(p)"),
        (slip("parameter_groups", ('"params": matrices', '"params": set(matrices)')),
         "AdamW refuses a set"),
        (slip("parameter_groups", (".append(parameter)", ".append(parameter.data)")),
         "from model.named_parameters()"),
        (slip("parameter_groups", ("model.named_parameters()", "model.state_dict().items()")),
         "that are not the model's parameters"),
        (slip("parameter_groups", ('"params": others', '"params": others + matrices')),
         "list each parameter exactly once"),
        (slip("parameter_groups", ('"weight_decay": 0.0', '"weight_decay": None')),
         "'weight_decay' should be one number"),
    ],
    "snapshot": [
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'step': step}}"),
         "The state has no 'optimizer'. Without its two running means, the next"),
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'optimizer': {COPIES[1]}}}"),
         "The state has no 'step'. Without it, schedules"),
        (SNAPSHOT.format(f"{{'optimizer': {COPIES[1]}, 'step': step}}"),
         "The state has no 'model'. Without the weights"),
        (SNAPSHOT.format("{'model': model.state_dict(), 'optimizer': optimizer.state_dict(), "
                         "'step': step}"), "changed when training went on"),
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'optimizer': optimizer.state_dict(), "
                         "'step': step}"), "copy the optimizer's state"),
        (SNAPSHOT.format(f"{{'model': model, 'optimizer': {COPIES[1]}, 'step': step}}"),
         "store what its state_dict() returns"),
        (SNAPSHOT.format("copy.deepcopy(model.state_dict())"), "yours include 'weight', 'bias'"),
        (SNAPSHOT.format(f"{{model: {COPIES[0]}, optimizer: {COPIES[1]}, step: step}}"),
         "yours include objects of type Linear, AdamW, int. Put the names in quotes"),
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'optimizer': copy.deepcopy(optimizer), "
                         "'step': step}"), "state['optimizer'] is of type AdamW"),
        (SNAPSHOT.format("{'model': model.state_dict, 'optimizer': optimizer.state_dict, "
                         "'step': step}"), "write state_dict(), with parentheses"),
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'optimizer': copy.deepcopy(optimizer.state), "
                         "'step': step}"), "should be what optimizer.state_dict() returns"),
        (SNAPSHOT.format("{'model': {k: p.half() for k, p in model.state_dict().items()}, "
                         f"'optimizer': {COPIES[1]}, 'step': step}}"), "not exactly those"),
        (SNAPSHOT.format("{'model': {k: p.numpy().copy() for k, p in model.state_dict().items()}, "
                         f"'optimizer': {COPIES[1]}, 'step': step}}"),
         "state['model'] should hold tensors, but its weight is of type ndarray"),
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'optimizer': {COPIES[1]}, 'step': str(step)}}"),
         "the number that was given, not '5'"),
        (SNAPSHOT.format(f"{{'model': {COPIES[0]}, 'optimizer': {COPIES[1]}, 'step': 0}}"),
         "should be 5, the number that was given"),
        (SNAPSHOT.format("{'model': {k: p.detach().clone() for k, p in model.named_parameters()}, "
                         f"'optimizer': {COPIES[1]}, 'step': step}}"), "buffers as well"),
    ],
}
ALSO_RIGHT = {
    "parameter_groups": [  # which AdamW takes too
        "def parameter_groups(model, weight_decay):\n"
        "    return [{'params': p, 'weight_decay':\n"
        "             weight_decay * (p.ndim > 1 and not name.endswith('_token'))}\n"
        "            for name, p in model.named_parameters()]"],
}
