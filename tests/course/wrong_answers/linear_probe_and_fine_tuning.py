"""Plausible wrong answers to the exercises of notebook 08, and what the check must say."""


UNIT = "torch.nn.functional.normalize({}, dim=1)"
VOTES = ("def knn_predict(train, labels, test, k, classes):\n"
         "    s, ids = ({b} @ {a}.T).topk(k)\n"
         "    voters = torch.nn.functional.one_hot(labels[ids], classes)\n"
         "    return ((s / 0.07).exp()[:, :, None] * voters).sum(dim=1).argmax(dim=1)")


def knn(near: str = "(b @ a.T).topk(k)", weight: str = "(s / 0.07).exp()", a: str = "",
        b: str = "") -> str:
    return (f"def knn_predict(train, labels, test, k, classes):\n"
            f"    a, b = {a or UNIT.format('train')}, {b or UNIT.format('test')}\n"
            f"    s, ids = {near}\n    votes = torch.zeros(len(test), classes)\n"
            f"    return votes.scatter_add(1, labels[ids], {weight}).argmax(dim=1)")


def standardise(lines: str) -> str:
    return f"def standardise(train, test):\n    {lines}"


def paired(lines: str) -> str:
    return ("def paired_interval(a, b):\n    d = 100 * (b.double() - a.double())\n"
            f"    m, n = d.mean(), len(d)\n    {lines}\n    return m, m - h, m + h")


NORMAL = paired("h = 1.96 * d.std() / n ** 0.5")
SCALED = ("def standardise(train, test):\n    m, s = train.mean(0), train.std(0).clamp(min=1e-6)\n"
          "    return [{} for x in (train, test)]")
OWN = "(x - x.mean({d})) / x.std({d}{k}) for x in (train, test)"
WRONG = {
    "knn_predict": [
        (knn(weight="torch.ones_like(s)"), "Every neighbour's vote counts the same here"),
        (knn(weight="s.exp()"), "The votes hardly differ"),
        (knn(weight="s"), "divide the similarity by 0.07"),
        (knn(near="(b @ a.T).topk(k, largest=False)"), "the k least similar images"),
        (knn(near="(b @ a.T).topk(1)"), "Only the nearest neighbour votes"),
        (knn(a="train", b="test"), "a dot product prefers long vectors"),
        (knn(a="train"), "The training features are not normalised"),
        (knn(b="test"), "The test features are not normalised"),
        (knn(near="(-torch.cdist(test, train)).topk(k)", weight="torch.ones_like(s)"),
         "You choose the neighbours by distance"),
        ("def knn_predict(train, labels, test, k, classes): return torch.zeros(180, classes)",
         "The predicted labels should have shape (180,)"),
        ("def knn_predict(train, labels, test, k, classes): return labels[:180] * 0",
         "of 180 test images get"),
        (VOTES.format(a="train", b="test"), "a dot product prefers long vectors"),
        (VOTES.format(a=UNIT.format("test"), b=UNIT.format("train")),
         "for each of the 240 training images"),
        (knn(near="(x[:, 1:] for x in (b @ a.T).topk(k + 1))"), "leave out the nearest neighbour"),
        (knn(near="(x[:, 1:] for x in (b @ a.T).topk(k))"), "Keep it: no test image"),
        (knn().replace("scatter_add", "scatter"), "Only one of several"),
        (knn().split("    return")[0] + "    m = torch.arange(len(test))[:, None]\n"
         "    votes[m, labels[ids]] += (s / 0.07).exp()\n    return votes.argmax(dim=1)",
         "Add up their votes"),
        (knn().replace("argmax(dim=1)", "max(dim=1)"), "Use argmax(dim=1), which returns"),
        (knn().replace("argmax(dim=1)", "max(dim=1).values"), "gives the class with the"),
        (knn() + ".float()", "create the result with dtype=torch.long"),
        (knn().replace("len(test), classes", "len(test), 10"),
         "Your table of votes has 10 columns, but there are 12 classes"),
        (knn().split("    return")[0] + "    votes = votes[:, :10]\n    for i in range(k):\n"
         "        votes[torch.arange(len(test)), labels[ids[:, i]]] += (s[:, i] / 0.07).exp()\n"
         "    return votes.argmax(dim=1)", "as many columns as the argument classes says"),
        (knn().replace("argmax", "argmin"), "Not one label is right"),
        (knn() + " + 1", "counted from 0?"),
        (knn().split("    votes")[0] + "    return ids[:, 0]", "positions of training images"),
        (knn().replace("votes.scatter_add(1, labels[ids]", "torch.zeros(len(test), len(train))"
                       ".scatter_add(1, ids"), "labels[ids] are their classes"),
        *((knn(near=f"(b @ a.T).topk({n})"), "Do exactly k neighbours vote (k is 9 here)?")
          for n in ("k + 1", "k - 1", "5", "10", "20", "len(train)")),
    ],
    "standardise": [
        (standardise(f"return tuple({OWN.format(d=0, k='')})"),
         "scaled by their own mean and standard deviation"),
        (standardise("x = torch.cat([train, test]); x = (x - x.mean(0)) / x.std(0)\n"
                     "    return x[:len(train)], x[len(train):]"),
         "over training and test images together"),
        (standardise("f = lambda x: (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)\n"
                     "    return f(train), f(test)"), "Each image is scaled by itself"),
        (standardise("m, v = train.mean(0), train.var(0); return (train - m) / v, (test - m) / v"),
         "You divide by the variance"),
        (standardise("m, s = train.mean(), train.std(); return (train - m) / s, (test - m) / s"),
         "one mean and one standard deviation for"),
        (standardise("s = train.std(0); return train / s, test / s"), "The mean is still there"),
        (standardise("m = train.mean(0); return train - m, test - m"),
         "now divide by the standard dev"),
        (standardise("m, s = train.mean(0), train.std(0); return (train - m) / s, (test - m) / s"),
         "One feature is the same in all images"),
        (standardise("m, s = train.mean(0), train.std(0); return (train - m) / s, test"),
         "The test features are not scaled"),
        (standardise("m, s = train.mean(0), train.std(0)\n    train -= m\n    train /= s\n"
                     "    return train, (test - m) / s"), "changes train in place"),
        (standardise("return (train - train.mean(0)) / train.std(0)"), "Return two tensors"),
        (SCALED.format("(x.double() - m) / s"), "features should stay in torch.float32"),
        (SCALED.format("x - m / s"), "Brackets are missing"),
        (SCALED.format("(x - m) / s.clamp(min=1)"), "Your lower bound"),
        (SCALED.format("(x - x.mean(0)) / s"), "You subtract the test set's own mean"),
        (SCALED.format("(x - m) / x.std(0)"), "You divide the test features by"),
        (standardise("train = train - train.mean(0)\n    test = test - train.mean(0)\n"
                     "    return train / train.std(0), test / train.std(0)"),
         "If you change train first"),
        (standardise("train = (train - train.mean(0)) / train.std(0)\n"
                     "    return train, (test - train.mean(0)) / train.std(0)"),
         "the training features as they were given"),
        (SCALED.format("(x - x.amin(0)) / s"), "should have mean 0"),
    ],
    "paired_interval": [
        (paired("m = -m; h = 1.96 * d.std() / n ** 0.5"), "The sign is wrong"),
        (paired("m = m / 100; h = 1.96 * d.std() / n ** 0.5"), "Your difference is one of shares"),
        (paired("h = 196 * (a.double().var() / n + b.double().var() / n).sqrt()"),
         "for two different test sets"),
        (paired("h = 1.645 * d.std() / n ** 0.5"), "1.645 leaves 5 %"),
        (NORMAL.replace("m, m - h, m + h", "m - h, m + h, m"), "return the difference first"),
        (NORMAL.replace("m, m - h, m + h", "m - h, m, m + h"), "in the wrong order"),
        (paired("h = 1.96 * d.std()"), "how much single images vary"),
        (paired("h = d.std() / n ** 0.5"), "The factor 1.96 is missing"),
        (paired("h = 1.96 * d.std() / n"), "You divide by n"),
        (paired("e = d[d != 0]; h = 1.96 * e.std() / len(e) ** 0.5"),
         "only over the images on which the two differ"),
        (paired("h = 0.98 * d.std() / n ** 0.5"), "half as wide"),
        (paired("h = 0.0196 * d.std() / n ** 0.5"), "Multiply the half-width by 100, too"),
        (NORMAL.replace("b.double() - a.double()", "(b ^ a).double()"), "should count as −1"),
        ("def paired_interval(a, b):\n    d = 100 * (b.double() - a.double())\n"
         "    m, h = d.mean(), 1.96 * d.std() / len(d) ** 0.5\n    return m, -h, h",
         "the interval lies around 0"),
        ("def paired_interval(a, b):\n    d = 100 * (b.double() - a.double())\n"
         "    m, h = d.mean(), 1.96 * d.std() / len(d) ** 0.5\n    return m, m, m + 2 * h",
         "but the middle of the interval is"),
        (paired("h = -1.96 * d.std() / n ** 0.5"), "The ends are swapped"),
        ("def paired_interval(a, b): return (b - a).mean()", "Your code stopped with"),
        ("def paired_interval(a, b): return 100 * (b.double() - a.double()).mean()",
         "Return three numbers"),
    ],
}

ALSO_RIGHT = {
    "knn_predict": [VOTES.format(a=UNIT.format("train"), b=UNIT.format("test"))],
    "standardise": [
        standardise("n = torch.nn.BatchNorm1d(4, affine=False, momentum=None); a = n(train)\n"
                    "    n.eval()\n    return a, n(test)"),  # with eps=1e-5
    ],
    "paired_interval": [
        paired("h = 1.966 * d.std() / n ** 0.5"),  # Student's t
        NORMAL.replace("m, m - h, m + h", "[x.numpy() for x in (m, m - h, m + h)]"),
    ],
}
