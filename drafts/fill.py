FILL = {
"BREAK_EPOCHS": "1 / 2", "BIG": "0.9",
"CURVES_ASSERT": """assert gaussian[-1] < 0.6 * gaussian[0] and gaussian[-1] > 1.06
    assert prediction[-1] < max(prediction)""",
"LEARNED_ASSERT": """assert knn["LeJEPA"] > knn["random encoder"] + 0.2
    assert hue["LeJEPA"] < 0.25 < hue["random encoder"]""",
"BREAK_ASSERT": """assert free["spread of z"] < 0.1 * complete["spread of z"]
    assert free["SIGReg"] > 0.9 * 0.41 * 256 > 5 * complete["SIGReg"]
    assert strict["error / variance"] > complete["error / variance"]
    assert complete["kNN"] > max(free["kNN"], strict["kNN"], start["kNN"])""",
"STUDY_ASSERT": """assert len(rows) == 2 * len(logs)""",
"CURVES": """
Watch both terms. SIGReg falls from the start: the cloud grows until its width is about 1. It stays above the floor of 1.06, as far as
these views and pictures let it. The prediction is measured in the cloud's own units, so it can rise while the cloud grows. Only then does
it fall.
""",
"LEARNED": """
The hue is gone, as with every method that learns from these views. For the rest, compare with the rows above, and mind that each method has a recipe of
its own.
""",
"BREAK": """
With $\\\\lambda = 0$ all pictures become **one point**. The prediction is nearly 0, SIGReg is that of 256 equal numbers, and no part
of the method holds against it. The rank looks fine: it does not see how small the cloud is.

With nearly all the weight on SIGReg the cloud has the right width, and the two views of a picture are farther apart in it than
in the complete run. A Gaussian of pictures that are strangers to their own views is easily made.
""",
"SUMMARY_STUDY": "Whether its loss predicts the accuracy was asked of eight recipes here; see the table.",
"STUDY": """
Two warnings before you read it. The loss contains $\\\\lambda$, so a smaller $\\\\lambda$ has a smaller loss whatever it learnt; that is what the rows with one $\\\\lambda$ are for.
And eight runs are few: the correlation of eight random orders is beyond $\\\\pm .5$ in about one case of five.
""",
}
FILL = {k: v.replace("\\\\", "\\") for k, v in FILL.items()}
