// Which results the search shows first; Sphinx reads this object. A page whose title has a word of the query comes
// before the many that merely use the word: Sphinx gives those all the same score, and sorts them by name.

var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score([, title, anchor, , score]) {
    const words = (text) => text.toLowerCase().match(/\w{3,}/g) ?? [];
    const asked = words(new URLSearchParams(window.location.search).get("q") ?? "");
    return score + (!anchor && words(title).some((word) => asked.includes(word)) ? 50 : 0);
  },
};
