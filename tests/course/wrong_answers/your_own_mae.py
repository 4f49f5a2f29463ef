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
        (leaks(f"{TABLE}.amin(1)"),
         "yours has dtype torch.float32. Return the result of a comparison"),
        (leaks(f"({TABLE}.amin(1) < limit).float()"), "without converting it"),
        (leaks(f"{TABLE}.amin(1) >= limit"), "the other way round"),
        (leaks("torch.cdist(test, train).amin(1) < limit"), "A copy that differs a little"),
        (leaks(f"{TABLE}.square().amin(1) < limit"), "too different is marked"),
        (leaks(f"{TABLE}.mean(1) < limit"), "not even the exact copy"),
        (leaks(f"({TABLE} < limit).all(1)"), "One near copy among the training images is enough"),
        (leaks(f"({TABLE} > limit).any(1)"), "You mark every test image"),
        (leaks("torch.cdist(test, test).amin(1) < limit"), "Compare test with train"),
        (leaks(f"{TABLE}.amin(1) < 0.02"), "does not use the limit that it is given, here 0.05"),
        (leaks("torch.cdist(test, train).amin(1) / test.shape[1] < limit"),
         "Do not divide by D itself"),
        (leaks("torch.cdist(test, train).amin(1) / len(train) ** 0.5 < limit"),
         "the square root of D, where D = train.shape[1] is 24 here"),
        (leaks("torch.cdist(test, train).amin(1) / len(test) ** 0.5 < limit"),
         "of the number of images"),
        (leaks("(test[:, None] - train).abs().mean(2).amin(1) < limit"), "not for the mean or"),
        (leaks("(test[:, None] - train).abs().amax(2).amin(1) < limit"), "the largest of the abs"),
        (leaks("torch.isclose(test[:, None], train, rtol=0, atol=limit).all(2).any(1)"),
         "The limit is for the root of the mean squared difference"),
        (leaks("((test[:, None] - train).abs().median(2).values < limit).any(1)"),
         "far from all training images"),
        (leaks("(test[:, None] - train).clamp(min=0).square().mean(2).sqrt().amin(1) < limit"),
         "it should not be marked"),
        (leaks(f"({TABLE}[:, 0] < limit)"), "it should be marked"),
        (leaks("(test[:, None] - train).std(2, correction=0).amin(1) < limit"),
         "do not subtract a mean"),
        (leaks("(test[:, None] == train).all(2).any(1)"), "Only exact copies are marked"),
        (leaks("torch.cdist(test, train).amin(1) / 192 ** 0.5 < limit"), "train.shape[1]"),
        (leaks("torch.tensor([i < len(train) and bool((x - train[i]).square().mean() ** 0.5 < limit"
               ") for i, x in enumerate(test)])"), "the same index"),
    ],
    "epochs_that_fit": [
        (epochs("60 * minutes / (steps * seconds_per_step)"), "an int; yours is a float"),
        (epochs("int(minutes // (steps * seconds_per_step))"), "60 seconds"),
        (epochs("int(60 * minutes // seconds_per_step)"), "how many steps fit"),
        (epochs("int(60 * minutes // (images * seconds_per_step))"), "for every image"),
        (epochs("int(60 * minutes // (steps * seconds_per_step))",
                "steps = -(-images // batch_size)"), "full batches only"),
        (epochs("round(60 * minutes / (steps * seconds_per_step))"), "Round down"),
        (epochs("max(1, int(60 * minutes // (steps * seconds_per_step)))"),
         "Not even one epoch fits"),
        (epochs("7"), "epochs fit into"),
        (epochs("int(60 * minutes // (steps * seconds_per_step))", "steps = images / batch_size"),
         "What is left over at the end"),
        (epochs("int(minutes / 60 // (steps * seconds_per_step))"), "A minute has 60 seconds"),
        (epochs("int(3600 * minutes // (steps * seconds_per_step))"), "in the same unit"),
        (epochs("int(60 * int(minutes) // (steps * seconds_per_step))"),
         "Do not round the minutes: 2.5 minutes is 150 seconds"),
    ],
    "model_card": [
        (card().replace("'\\n'.join(lines)", "lines"), "one string of Markdown; yours is a list"),
        (card(title="'# My model'"), "The first line"),
        (card(items="list(facts.items())[:-1]"), "The card lacks"),
        (card(line="f'- {value}'"), "without its name"),
        (card(line="f'- {name}: {value}' + 9 * '\\n'"), "not next to each other"),
        (card(limits="'## About'"), "needs a section"),
        (card(limits="'## Limits', 'None.'"), "has 1 word of your own. Write at least two"),
        (card(limits=f"'## limits', '{LIMITS}'"), "with exactly this heading"),
        (card(limits=f"'## Limits:', '{LIMITS}'"), "The card needs a section"),
        (card(limits="'## Limits', 'Nobody has tested this model on anything but the images named "
              "above, with a mask ratio of 0.75, so do not use it for anything else.'"),
         "has only one sentence"),
        (card(limits="'## Limits', ' '.join(facts.values())"), "has 0 words of your own"),
        (card(limits="'## Limits', 'None. Really.', *lines[1:]"), "has 2 words of your own"),
        (card(line="f'{name}: {value}, '").replace("'\\n'.join(lines)",
                                                   "'\\n'.join([lines[0], ''.join(lines[1:-2])"
                                                   ", *lines[-2:]])"), "a line of its own"),
        (card().replace("'\\n'.join(lines)", "' '.join(lines)"), "Your card is a single line"),
        (card().replace("'\\n'.join(lines)", "r'\\n'.join(lines)"), "join the lines with"),
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
        card(limits="'## Limits', '', '### Not tested', 'It was trained once, with one seed, and "
             "never on photographs.', '', '### Not for', 'Do not use it to judge real images or "
             "people in any way.'"),
        card(limits="'## Limits', '', '- It was trained once and was never tested on photographs',"
             " '- It must not be used to identify people or for any medical decision'"),
        card(limits="'## Limits', '', 'It was trained once, with one seed, on ' + facts['images'] "
             "+ ', and nobody has tested it on other images.', 'Its pictures borrow the brightness "
             "of each patch, so do not read them as evidence.', '', '## Licence', 'MIT.'"),
        card(items="reversed(facts.items())"),
        card(items="[(n, facts[n]) for n in ('images', 'sizes', 'recipe', 'held-out loss', "
                   "'linear probe', 'random weights', 'chance')]"),
    ],
}
