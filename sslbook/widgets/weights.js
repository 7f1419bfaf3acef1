// How the weights of a network come into a page. Follows page.js.

/** Numbers of float16, as a Uint16Array has their bits, as float32. */
export function fromHalves(bits) {
  return Float32Array.from(bits, (h) => {
    const [sign, exponent, fraction] = [h >> 15 ? -1 : 1, (h >> 10) & 31, h & 1023];
    return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
  });
}

/** A Bytes trait, fetched where a page has it as a file of its own: a promise of a typed array. */
async function fetched(model, name, Type) {
  const { url } = model.get(name);
  if (!url) return array(model, name, Type);
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${response.status} for ${url}`);
  return new Type(await response.arrayBuffer());
}

/** Begin once the reader comes near; the returned function calls it off. */
function whenNear(root, begin) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    begin();
  }, { rootMargin: "300px" });
  observer.observe(root);
  return () => observer.disconnect();
}

/** The weights by name, as views into one Float32Array; `parts` are [[name, length]]. */
export function readWeights(numbers, parts) {
  const found = {};
  let from = 0;
  for (const [name, length] of parts) {
    found[name] = numbers.subarray(from, from + length);
    from += length;
  }
  return found;
}

/** The line that says whether the network is there, with a button that asks for it again. */
function networkPart(widget) {
  const status = make("p", { class: "sslw-note", role: "status" });
  const again = button("Try again", () => loadNetwork(widget));
  again.hidden = true;
  return { status, again, item: make("div", { class: "sslw-state" }, status, again) };
}

/** Fetch the weights where they are a file beside the page, and make `widget.network` of them. */
async function loadNetwork(widget) {
  const { model, parts, networkOf, about, words } = widget;
  const { status, again } = parts.network;
  again.hidden = true;
  status.textContent = `Loading the network, ${rounded(model.get("weights").bytes / 1e6, 1)} MB.`;
  try {
    const bits = await fetched(model, "weights", Uint16Array);
    if (widget.gone) return;
    widget.network = networkOf(fromHalves(bits), about);
    status.textContent = words.here;
    widget.soon();
  } catch (error) {
    if (widget.gone) return;
    console.warn("The network did not come:", error);
    status.textContent = `The network did not come, so ${words.without}. A page opened as a file needs a server.`;
    again.hidden = false;
  }
}

/**
 * Make `widget.network` of the weights: now if they came with the page, else once the reader is near. The returned
 * function calls it off. The widget has `networkOf(numbers, about)`, `about`, and `words` {here, without}.
 */
function bringNetwork(widget, root) {
  const { model, parts, networkOf, about, words } = widget;
  let ignore = () => {};
  if (model.get("weights").url) {
    ignore = whenNear(root, () => loadNetwork(widget));
  } else {
    widget.network = networkOf(fromHalves(array(model, "weights", Uint16Array)), about);
    parts.network.status.textContent = words.here;
  }
  return () => {
    widget.gone = true;
    ignore();
  };
}
