/* Start reveal.js: 1280 x 720, the page scales it. A slide that is fuller than was reckoned gets smaller letters. */
const SMALLEST = 0.6;

function fit(slide) {
  if (!slide || slide.dataset.fitted) return;
  slide.dataset.fitted = "yes";
  for (let size = 1; size > SMALLEST && isFull(slide); size -= 0.05) slide.style.setProperty("--size", size);
}

const isFull = (slide) => slide.scrollHeight > slide.clientHeight + 1 || slide.scrollWidth > slide.clientWidth + 1;

Reveal.on("ready", ({ currentSlide }) => fit(currentSlide));
Reveal.on("slidechanged", ({ currentSlide }) => fit(currentSlide));
Reveal.on("pdf-ready", () => document.querySelectorAll(".pdf-page section").forEach(fit));
Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0,
  center: false,
  display: "flex",
  hash: true,
  slideNumber: "c/t",
  transition: "none",
  pdfSeparateFragments: false,
  scrollActivationWidth: null, // slides on a phone too
  plugins: [RevealNotes],
});
