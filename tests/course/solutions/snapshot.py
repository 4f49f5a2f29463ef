import copy


def snapshot(model, optimizer, step):
    return {"model": copy.deepcopy(model.state_dict()),
            "optimizer": copy.deepcopy(optimizer.state_dict()),
            "step": step}
