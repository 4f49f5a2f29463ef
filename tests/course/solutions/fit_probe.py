def fit_probe(x, labels, classes, decay):
    probe = nn.Linear(x.shape[1], classes)
    nn.init.zeros_(probe.weight)
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        penalty = decay / 2 * probe.weight.square().sum()
        loss = F.cross_entropy(probe(x), labels) + penalty
        loss.backward()
        return loss

    optimizer.step(closure)
    return probe.weight.detach().T, probe.bias.detach()
