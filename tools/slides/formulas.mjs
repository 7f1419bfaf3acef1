// TeX to SVG that needs neither a script nor a font: {"macros": {…}, "formulas": [[tex, display], …]} in, [svg, …] out.
import MathJax from "mathjax/node-main.mjs";
import { readFileSync } from "node:fs";

const { macros, formulas } = JSON.parse(readFileSync(0, "utf8"));
await MathJax.init({
  loader: { load: ["input/tex", "output/svg"] },
  output: { fontCache: "none", linebreaks: { inline: false } },
  tex: { macros },
});
const made = [];
for (const [tex, display] of formulas) {
  const node = await MathJax.tex2svgPromise(tex, { display });
  made.push(MathJax.startup.adaptor.innerHTML(node).replaceAll(' role="img"', ' aria-hidden="true"')); // named by the page
}
process.stdout.write(JSON.stringify(made));
