"""Plausible wrong answers to the exercises of notebook 03, and what the check must say."""


def head(line, scores="q @ k.mT / q.shape[-1] ** 0.5"):
    return f"def single_head(q, k, v):\n    s = {scores}\n    return {line}"


def block(first, second):
    arguments = "x, norm1, attn, norm2, mlp"
    return f"def pre_norm_block({arguments}):\n    y = {first}\n    return {second}"


def fill(last, number="ids_restore.shape[1] - x.shape[1]", joined="[x, t]"):
    return ("def fill_in(x, mask_token, ids_restore):\n"
            f"    t = mask_token.expand(len(x), {number}, -1)\n"
            f"    y = torch.cat({joined}, dim=1)\n"
            f"    return {last}")


GATHER = "y.gather(1, ids_restore[:, :, None].expand(-1, -1, x.shape[2]))"


def price(formula):
    return f"def block_multiply_adds(n, d): return {formula}"


WRONG = {
    "single_head": [
        (head("s.softmax(-1) @ v", "q @ k.mT"), "not divided by √d"),
        (head("s.softmax(-1) @ v", "q @ k.mT / q.shape[-1]"), "it is √d = 2.83"),
        (head("s.softmax(1) @ v"), "runs over the askers"),
        (head("s.softmax(0) @ v"), "over the images of the batch"),
        (head("s.softmax(-1)"), "You return the shares"),
        (head("s @ v"), "There is no softmax"),
        (head("s.softmax(-1) @ k"), "the values are not"),
        (head("s.softmax(-1) @ v", "q @ k / 8 ** 0.5"), "stopped with RuntimeError"),
        (head("(s.softmax(-1) @ v).mean(1)"), "should have shape (2, 5, 8), got (2, 8)"),
    ],
    "pre_norm_block": [
        (block("norm1(x + attn(x))", "norm2(y + mlp(y))"), "This is post-norm"),
        (block("attn(norm1(x))", "mlp(norm2(y))"), "Nothing is added to x"),
        (block("x + attn(norm1(x))", "y + mlp(norm2(x))"), "The MLP reads the block's input"),
        (block("x + attn(norm1(x))", "y + mlp(norm1(y))"), "norm1 is used twice"),
        (block("x + attn(norm1(x))", "mlp(norm2(y))"), "The second sum is missing"),
        (block("attn(norm1(x))", "y + mlp(norm2(y))"), "The first sum is missing"),
        (block("norm1(x)", "(y + attn(y)) + mlp(norm2(y + attn(y)))"), "x itself"),
        (block("x + attn(x)", "y + mlp(y)"), "No norm is used"),
        (block("x + mlp(norm2(x))", "y + attn(norm1(y))"), "The MLP comes before attention"),
        (block("x + norm1(attn(x))", "y + norm2(mlp(y))"), "the values are not"),
    ],
    "fill_in": [
        (fill("y"), "the order is not restored"),
        (fill(GATHER.replace("ids_restore", "ids_restore.argsort(1)")), "shuffles once more inst"),
        (fill("torch.zeros_like(y).scatter(1, ids_restore[:, :, None].expand_as(y), y)"),
         "or scatter, goes the other way"),
        (fill(GATHER, joined="[t, x]"), "in front of the visible ones"),
        (fill("y[:, ids_restore[0]]"), "the order of the first one"),
        (fill(GATHER, joined="[x, 0 * t]"), "the holes hold zeros"),
        (fill("y", number="ids_restore.shape[1]"), "You added 9 mask tokens to 3"),
        (fill(GATHER + "[:, :, 0]"), "should have shape (2, 9, 4), got (2, 9)"),
        (fill("y.flip(1)"), "tokens are not where they came from"),
    ],
    "block_multiply_adds": [
        (price("24 * n * d**2 + 4 * n**2 * d"), "That is twice as many"),
        (price("12 * n * d**2"), "Two products have none"),
        (price("12 * n * d**2 + n**2 * d"), "One product of attention is missing"),
        (price("11 * n * d**2 + 2 * n**2 * d"), "attn.proj is missing"),
        (price("8 * n * d**2 + 2 * n**2 * d"), "Only one of the MLP's matrices"),
        (price("12 * d**2 + 2 * n**2 * d"), "act on each of the N tokens"),
        (price("12 * n * d**2 + 12 * n**2 * d"), "Heads do not multiply the work"),
        (price("12 * n * d**2 + 2 * n**2"), "not 21,680,834"),
        (price("'a lot'"), "Return a number, got str"),
    ],
}
