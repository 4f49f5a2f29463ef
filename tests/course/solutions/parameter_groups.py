def decays(name, parameter):
    return parameter.ndim > 1 and not name.endswith("_token")


def parameter_groups(model, weight_decay):
    named = list(model.named_parameters())
    return [{"params": [p for name, p in named if decays(name, p)], "weight_decay": weight_decay},
            {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0}]
