/* Scrolls through a page: what is drawn when it is seen is drawn then. */
async () => {
  const pause = () =>
    new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight) {
    scrollTo(0, y);
    await pause();
  }
  scrollTo(0, 0);
  await pause();
}
