"""Plausible wrong answers to the exercises of notebook 11, and what the check must say."""


def leaks(value):
    return f"def leaks(train, test, limit):\n    return {value}"


def epochs(value, first="steps = images // batch_size"):
    return ("def epochs_that_fit(minutes, seconds_per_step, images, batch_size):\n"
            f"    {first}\n    return {value}")


TABLE = "(torch.cdist(test, train) / test.shape[1] ** 0.5)"
LIMITS = ("Nobody has tested this model on anything but the images named above. "
          "Do not use it to decide anything about people.")


def card(items="facts.items()", title="'# ' + facts['name']", line="f'- {name}: {value}'",
         limits=f"'## Limits', '', '{LIMITS}'"):
    return ("def model_card(facts):\n"
            f"    lines = [{title}, '']\n"
            f"    lines += [{line} for name, value in {items}]\n"
            f"    lines += ['', {limits}]\n"
            "    return '\\n'.join(lines)")


WRONG = {
    "leaks": [
        (leaks(f"{TABLE}.amin(0) < limit"), "one for each"),
        (leaks(f"{TABLE}.amin(1)"), "True or False"),
        (leaks(f"{TABLE}.amin(1) >= limit"), "the other way round"),
        (leaks("torch.cdist(test, train).amin(1) < limit"), "A lighter copy is missed"),
        (leaks(f"{TABLE}.square().amin(1) < limit"), "too different is marked"),
        (leaks(f"{TABLE}.mean(1) < limit"), "on average"),
        (leaks("(test[:, None] == train).all(2).any(1)"), "Only exact copies are marked"),
        (leaks("torch.cdist(test, train).amin(1) / 192 ** 0.5 < limit"), "train.shape[1]"),
        (leaks("torch.tensor([i < len(train) and bool((x - train[i]).square().mean() ** 0.5 < limit"
               ") for i, x in enumerate(test)])"), "the same number"),
    ],
    "epochs_that_fit": [
        (epochs("60 * minutes / (steps * seconds_per_step)"), "a whole number"),
        (epochs("int(minutes // (steps * seconds_per_step))"), "60 seconds"),
        (epochs("int(60 * minutes // seconds_per_step)"), "how many steps fit"),
        (epochs("int(60 * minutes // (images * seconds_per_step))"), "for every image"),
        (epochs("int(60 * minutes // (steps * seconds_per_step))",
                "steps = -(-images // batch_size)"), "full batches only"),
        (epochs("round(60 * minutes / (steps * seconds_per_step))"), "Round down"),
        (epochs("max(1, int(60 * minutes // (steps * seconds_per_step)))"), "0 says so"),
        (epochs("7"), "epochs fit into"),
    ],
    "model_card": [
        (card().replace("'\\n'.join(lines)", "lines"), "one string"),
        (card(title="'# My model'"), "The first line"),
        (card(items="list(facts.items())[:-1]"), "does not say"),
        (card(line="f'- {value}'"), "without its name"),
        (card(line="f'- {name}: {value}' + 9 * '\\n'"), "not next to each other"),
        (card(limits="'## About'"), "needs a section"),
        (card(limits="'## Limits', 'None.'"), "has 1 word. Write at least two sentences"),
        (card(title="'# ' + facts.pop('name')"), "changes facts, but the caller"),
        (card(items="sorted(facts.items())"), "next to each other"),
        (card(limits=f"'    ## Limits', '    {LIMITS}'"), "A heading is indented"),
    ],
}

ALSO_RIGHT = {
    "leaks": ["import numpy as np\ndef leaks(train, test, limit):\n"
              "    d = test.numpy()[:, None] - train.numpy()\n"
              "    return (np.sqrt((d**2).mean(axis=2)) < limit).any(axis=1)"],
    "epochs_that_fit": ["import numpy as np\n"
                        + epochs("np.int64(60 * minutes // (steps * seconds_per_step))")],
    "model_card": [
        card(line="f'- **{name.capitalize()}:** {value}'"),
        card(line="f'| {name.title()} | {value} |'"),
        card(items="reversed(facts.items())"),
        card(items="[(n, facts[n]) for n in ('images', 'sizes', 'recipe', 'held-out loss', "
                   "'linear probe', 'random weights', 'chance')]"),
    ],
}
