/* Says so where something is wider than its place, and lets the keyboard scroll it. */
(() => {
  const PLACES = 'div.cell_output, div.cell_output > .output, .pst-scrollable-table-container, div.math, pre';
  const boxes = document.querySelectorAll(`.bd-article :is(${PLACES})`);
  const check = (box) => {
    const room = box.scrollWidth - box.clientWidth;
    const wide = room > 1 && box.clientWidth > 0;
    box.classList.toggle('syre-wide', wide);
    box.classList.toggle('syre-more', wide && box.scrollLeft < room - 1);
    if (wide) box.tabIndex = 0;
    else box.removeAttribute('tabindex');
  };
  // What is inside may grow without its box: a formula when it is set, a cell that comes near the window.
  const watched = new WeakSet();
  const watch = (part) => {
    if (watched.has(part)) return;
    watched.add(part);
    seen.observe(part);
  };
  const seen = new ResizeObserver((entries) => {
    for (const box of new Set(entries.map((entry) => entry.target.closest(PLACES)))) {
      if (!box) continue;
      check(box);
      box.querySelectorAll(':scope > *, mjx-math, mjx-mtable').forEach(watch);
    }
  });
  for (const box of boxes) {
    watch(box);
    box.addEventListener('scroll', () => check(box), {passive: true});
  }
  // And when the formulas' letters have come.
  document.fonts.addEventListener('loadingdone', () => boxes.forEach(check));
})();
