/* How much wider than its window a page is, and what makes it so. */
() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  // What lies inside of something that scrolls by itself makes no page wide.
  const inside = (one) => {
    for (let here = one.parentElement; here && here !== document.body; here = here.parentElement)
      if (getComputedStyle(here).overflowX !== "visible") return true;
    return false;
  };
  const right = (one) => {
    let most = one.getBoundingClientRect().right;
    for (const node of one.childNodes) {
      if (node.nodeType !== Node.TEXT_NODE) continue;
      const range = document.createRange();
      range.selectNodeContents(node);  // text may be wider than what it stands in
      most = Math.max(most, range.getBoundingClientRect().right);
    }
    return most;
  };
  const far = [...document.querySelectorAll("body *")]
    .filter((one) => right(one) > root.clientWidth + 1 && !inside(one))
    .map((one) => `${one.tagName}.${one.className}: ${one.textContent.trim().slice(0, 40)}`);
  return [`${root.scrollWidth} of ${root.clientWidth} px`, ...far.slice(0, 8)];
}
