// Draw a notebook's widgets on a page without a kernel. `widgetStates` comes from the page's own file beside this one:
// {sources: [module or style sheet], models: {id: {esm, css, plain, binary, large}}, runtime: bytes of onnxruntime-web},
// as static_widgets.py writes it.

{
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  // where a widget finds onnxruntime-web, and how large it is
  Object.assign(document.documentElement.dataset, { ort: `${folder}vendor/ort/`, ortBytes: window.widgetStates.runtime });

  const view = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const mapped = (object, f) => Object.fromEntries(Object.entries(object).map(([name, value]) => [name, f(value)]));

  /** What a widget's module knows of its model: values, and who listens to them. Nobody else is there to tell. */
  function modelOf({ plain, binary, large }) {
    const link = ({ file, bytes }) => ({ url: folder + file, bytes });
    const state = { ...plain, ...mapped(binary, view), ...mapped(large, link) };
    const listeners = {};
    return {
      get: (name) => state[name],
      set(name, value) {
        state[name] = value;
        for (const listener of listeners[`change:${name}`] ?? []) listener();
      },
      on: (event, listener) => (listeners[event] ??= new Set()).add(listener),
      off: (event, listener) => listeners[event]?.delete(listener),
      save_changes() {},
      send() {},
    };
  }

  const loaded = new Map();

  /** The module of a source, once for all widgets that have it. */
  function moduleOf(source) {
    if (!loaded.has(source)) {
      loaded.set(source, import(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))));
    }
    return loaded.get(source);
  }

  async function draw(script, { sources, models }) {
    const { model_id: id } = JSON.parse(script.textContent);
    const { esm, css, ...state } = models[id];
    const style = document.createElement("style");
    style.textContent = sources[css];
    document.head.append(style);
    const el = document.createElement("div");
    el.className = "widget-subarea";
    script.before(el);
    const { default: widget } = await moduleOf(sources[esm]);
    await widget.render({ model: modelOf(state), el });
  }

  for (const script of document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]')) {
    draw(script, window.widgetStates);
  }
}
