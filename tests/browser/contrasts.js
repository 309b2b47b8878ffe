/* Texts that are hard to read: WCAG 2.2, success criterion 1.4.3 (AA), 4.5 to 1, large text 3. */
() => {
  const channel = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parsed = (text) => {  // whatever notation the style has
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r / 255, g / 255, b / 255, a / 255];
  };
  const ground = (one) => {
    for (let here = one; here; here = here.parentElement) {
      const colour = parsed(getComputedStyle(here).backgroundColor);
      if (colour[3] > 0.5) return colour;
    }
    return [1, 1, 1, 1];
  };
  const poor = [];
  for (const one of document.querySelectorAll("body *")) {
    const text = [...one.childNodes]
      .filter((node) => node.nodeType === Node.TEXT_NODE)
      .map((node) => node.textContent.trim())
      .join("");
    if (!text || !one.offsetParent || one.closest("svg, script, style")) continue;
    const style = getComputedStyle(one);
    const [a, b] = [luminance(parsed(style.color)), luminance(ground(one))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${one.tagName}.${one.className}: ${text.slice(0, 40)}`);
  }
  return [...new Set(poor)].slice(0, 20);
}
