// What is large is fetched when the reader comes near.

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
