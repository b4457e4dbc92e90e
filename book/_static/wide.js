/* Says so where something is wider than its place, and lets the keyboard scroll it. */
(() => {
  const PLACES = 'div.cell_output, div.cell_output > .output, .pst-scrollable-table-container, div.math, div.highlight pre';
  const check = (box) => {
    const room = box.scrollWidth - box.clientWidth;
    const wide = room > 1 && box.clientWidth > 0;
    box.classList.toggle('syre-wide', wide);
    box.classList.toggle('syre-more', wide && box.scrollLeft < room - 1);
    if (wide) box.tabIndex = 0;
    else box.removeAttribute('tabindex');
  };
  const seen = new ResizeObserver((entries) => {
    for (const box of new Set(entries.map((entry) => entry.target.closest(PLACES)))) check(box);
  });
  for (const box of document.querySelectorAll(`.bd-article :is(${PLACES})`)) {
    seen.observe(box);
    // What is inside may grow later: a formula that is set, a cell that comes near the window.
    for (const part of box.children) seen.observe(part);
    box.addEventListener('scroll', () => check(box), {passive: true});
  }
})();
