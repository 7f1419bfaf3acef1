from tools.ideas.drawing import BLUE, GREEN, ORANGE, PURPLE, Drawing, tint

ALT = (
    "The sentence: the small red star is above the big blue ring, so the blue something is below the red star. "
    "The hidden word and all others go into the encoder. An arrow from the hidden place points to the word ring, "
    "which stands there a second time. Bars beside it: ring nearly 1, others nearly 0."
)
FIRST = ("the", "small", "red", "star", "is", "above", "the", "big", "blue", "ring")
SECOND = (", so", "the", "blue", "?", "is", "below", "the", "red", "star")


def draw() -> Drawing:
    d = Drawing(268, ALT)
    first = words(d, FIRST, 34, {7: ORANGE, 1: ORANGE})
    second = words(d, SECOND, 84, {3: PURPLE})
    d.arrow((second[3], 70), (first[9] - 6, 49))
    d.label(120, 112, "one word is hidden ...")
    d.label(392, 112, "... and said elsewhere")
    encoder = d.box(120, 168, "encoder\n$f$", BLUE, width=110, height=60)
    words_back = d.box(262, 168, "a score for\nevery word", GREEN, width=108, height=60)
    d.arrow(encoder.right, words_back.left)
    d.arrow((120, 122), encoder.top)
    d.arrow(words_back.right, (346, 168))
    for i, (word, share) in enumerate((("ring", 0.96), ("star", 0.03), ("heart", 0.01))):
        y = 146 + 22 * i
        d.label(372, y, word)
        d.line([(400, y), (400 + 64 * share, y)], GREEN, 9)
    d.label(240, 236, "The sizes (orange) are said once:\na guess among four is the best there.")
    return d


def words(d: Drawing, row: tuple[str, ...], y: float, marked: dict[int, str]) -> list[float]:
    """A row of words in boxes; where each of them stands."""
    widths = [14 + 7.6 * len(word) for word in row]
    x, places = 240 - (sum(widths) + 4 * (len(row) - 1)) / 2, []
    for i, (word, width) in enumerate(zip(row, widths)):
        color = marked.get(i)
        places.append(x + width / 2)
        ground = tint(color, 0.25) if color else "#f2f4f7"
        d.parts.append(d.rectangle(places[-1], y, width, 26, ground, color or "#c9cdd3", 1.5))
        d.label(places[-1], y, word)
        x += width + 4
    return places
