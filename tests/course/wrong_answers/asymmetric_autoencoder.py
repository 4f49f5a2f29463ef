"""Plausible wrong answers to the exercises of notebook 03, and what the check must say.

Those to the parts of the model are in `model_parts`.
"""


def attend(line, scores="q @ k.mT / q.shape[-1] ** 0.5"):
    return ("def self_attention(x, W_q, W_k, W_v):\n"
            "    q, k, v = x @ W_q, x @ W_k, x @ W_v\n"
            f"    s = {scores}\n    return {line}")


def price(formula):
    return f"def block_multiply_adds(n, d): return {formula}"


WRONG = {
    "self_attention": [
        (attend("s.softmax(-1) @ v", "q @ k.mT"), "not divided by √d"),
        (attend("s.softmax(-1) @ v", "q @ k.mT / q.shape[-1]"), "It should be √d = 2.00"),
        (attend("s.softmax(-1) @ v", "q @ k.mT / x.shape[-1] ** 0.5"), "You divide by √6"),
        (attend("s.softmax(-1) @ v", "q @ k.mT / math.sqrt(4)"), "You divide by √4 also"),
        (attend("s.softmax(-1) @ v", "q @ k.mT / len(q) ** 0.5"), "the number of images"),
        (attend("s.softmax(1) @ v"), "runs over the queries"),
        (attend("s.softmax(0) @ v"), "over the images of the batch"),
        (attend("s.softmax(-1)"), "like the attention weights"),
        (attend("s @ v"), "There is no softmax"),
        (attend("s.softmax(-1) @ v", "k @ q.mT / q.shape[-1] ** 0.5"), "keys are swapped"),
        (attend("s.softmax(-1) @ k"), "a weighted sum of the keys"),
        (attend("s.softmax(-1) @ q"), "the values are not"),
        (attend("(s.softmax(-1) @ v).detach()"), "no gradient comes back"),
        (attend("s.softmax(-1) @ v", "q @ k / 2"), "stopped with RuntimeError"),
        (attend("(s.softmax(-1) @ v).mean(1)"),
         "should have shape (2, 5, 4); yours has shape (2, 4)"),
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
        (price("'a lot'"), "should be one number; yours is a str"),
    ],
}
ALSO_RIGHT = {
    "block_multiply_adds": [price("torch.tensor(12 * n * d**2 + 2 * n**2 * d)"),
                            "import numpy as np\n" + price("np.int64(12 * n * d**2 + 2 * n**2 * "
                                                           "d)")],
}
